import type { Range } from '../base/index.ts'

/** The indexes of a range, one by one. */
export function indexesOf(range: Range): number[] {
  return Array.from({ length: Math.max(0, range.end - range.start) }, (_, i) => range.start + i)
}

/** Cuts a range into runs of at most `length`. */
export function* runsOf(range: Range, length: number): Generator<Range> {
  for (let start = range.start; start < range.end; start += length) {
    yield { start, end: Math.min(start + length, range.end) }
  }
}

/** Joins ascending indexes that follow each other. */
export function joined(indexes: readonly number[]): Range[] {
  const runs: Range[] = []
  for (const index of indexes) {
    const last = runs.at(-1)
    if (last?.end === index) {
      last.end += 1
    } else {
      runs.push({ start: index, end: index + 1 })
    }
  }
  return runs
}
