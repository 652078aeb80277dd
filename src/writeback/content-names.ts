import { type ExpectedDigest, expectedDigest, type FileRow } from '../tree/index.ts'

/** False when the name says what the content must hash to and the row does not know that hash. */
export function hasDigestFor(path: string, row: FileRow): boolean {
  const expected = expectedDigest(path)
  return expected === undefined || digestOf(row, expected) !== undefined
}

/** True when the name promises nothing, or what the row knows of the content keeps the promise. */
export function keepsPromise(path: string, row: FileRow): boolean {
  const expected = expectedDigest(path)
  return expected === undefined || digestOf(row, expected) === expected.hex
}

function digestOf(
  row: Pick<FileRow, 'sha256' | 'gitSha1'>,
  expected: ExpectedDigest,
): string | undefined {
  const digest = expected.algorithm === 'sha256' ? row.sha256 : row.gitSha1
  return digest === undefined ? undefined : Buffer.from(digest).toString('hex')
}
