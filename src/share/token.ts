import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 256 bits: whoever holds the address may read, so nobody may guess it. */
const TOKEN_BYTES = 32

/** The form of every token: 32 bytes in base64url without padding. */
export const TOKEN_PATTERN = /^[A-Za-z0-9_-]{43}$/

export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url')
}

/** Compares in constant time: digests have one length, whatever was sent. */
export function tokenMatches(expected: string, given: string): boolean {
  return timingSafeEqual(digestOf(expected), digestOf(given))
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
