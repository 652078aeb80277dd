import type { Range } from '../base/index.ts'

/** What a Range header asks for, of a representation of a known size (RFC 9110, section 14). */
export type AskedRange =
  | { kind: 'whole' }
  | { kind: 'part'; range: Range }
  | { kind: 'unsatisfiable' }

/**
 * Reads one byte range. A header that is malformed, of another unit or of several ranges is
 * ignored, as RFC 9110 section 14.2 allows: the whole file is the right answer then.
 */
export function askedRange(header: string | undefined, sizeBytes: number): AskedRange {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '')
  const [, first = '', last = ''] = match ?? []
  if (match === null || (first === '' && last === '')) {
    return { kind: 'whole' }
  }
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes)
    return length === 0
      ? { kind: 'unsatisfiable' }
      : { kind: 'part', range: { start: sizeBytes - length, end: sizeBytes } }
  }
  const start = Number(first)
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes)
  if (last !== '' && Number(last) < start) {
    return { kind: 'whole' }
  }
  return start >= sizeBytes ? { kind: 'unsatisfiable' } : { kind: 'part', range: { start, end } }
}
