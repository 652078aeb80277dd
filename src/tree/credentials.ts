/** Larger files are not looked into: credentials are small, and weights are not. */
export const CREDENTIAL_SCAN_BYTES = 64 * 1024

/** The form of each kind of credential; forms with random parts are checked for randomness too. */
const CREDENTIALS: readonly { kind: string; pattern: RegExp; random?: boolean }[] = [
  { kind: 'private key', pattern: /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----/g },
  { kind: 'Hugging Face token', pattern: /\bhf_[A-Za-z0-9]{30,}\b/g, random: true },
  { kind: 'GitHub token', pattern: /\bgh[opsur]_[A-Za-z0-9]{36,}\b/g, random: true },
  { kind: 'GitHub token', pattern: /\bgithub_pat_[A-Za-z0-9_]{50,}\b/g, random: true },
  { kind: 'AWS key', pattern: /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g, random: true },
  { kind: 'OpenAI key', pattern: /\bsk-(?:proj-)?[A-Za-z0-9_-]{32,}\b/g, random: true },
  { kind: 'Slack token', pattern: /\bxox[abprs]-[A-Za-z0-9-]{20,}\b/g, random: true },
  { kind: 'npm token', pattern: /\bnpm_[A-Za-z0-9]{36}\b/g, random: true },
  { kind: 'netrc login', pattern: /^\s*machine\s+\S+\s+login\s+\S+\s+password\s+\S+/gm },
]

/** Placeholders of documentation repeat one letter, or are words. */
const MIN_DISTINCT = 10

/**
 * The kind of credential that a small file seems to hold, or undefined. Binary files and files
 * over 64 KiB are not looked into.
 */
export function looksLikeCredential(bytes: Uint8Array): string | undefined {
  if (bytes.length > CREDENTIAL_SCAN_BYTES || bytes.includes(0)) {
    return undefined
  }
  const text = Buffer.from(bytes).toString('latin1')
  const found = CREDENTIALS.find(({ pattern, random }) =>
    [...text.matchAll(pattern)].some(([match]) => random !== true || looksRandom(match)),
  )
  return found?.kind
}

/** Tokens mix cases or letters and digits, and use many characters. */
function looksRandom(match: string): boolean {
  const body = match.replace(/^[A-Za-z]+[_-]/, '')
  return new Set(body).size >= MIN_DISTINCT && /\d/.test(body) && /[A-Za-z]/.test(body)
}
