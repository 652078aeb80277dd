import { createHash } from 'node:crypto'

export const MIB = 1024 * 1024

/** Bytes that do not compress and do not repeat, the same in every run, by what they are for. */
export function content(sizeBytes: number, what: string): Buffer {
  return createHash('shake256', { outputLength: sizeBytes }).update(what).digest()
}
