import type { Range } from '../base/index.ts'

/**
 * Extents (of 1 MiB) that are read ahead after the first, second, … extent of a sequential
 * reader. A reader that jumps gets nothing more than it asked for.
 */
const WINDOW_EXTENTS = [0, 1, 8, 32] as const

/** Loaders read one file with several threads, each sequentially. */
const MAX_CURSORS = 8

interface Cursor {
  /** First extent of the last read. */
  last: number
  /** End of the last read, in extents. */
  end: number
  /** Where its read-ahead ends, in extents. */
  frontier: number
  /** Index into the windows. */
  level: number
}

/** Watches the reads of one file and says what to fetch before it is asked for. */
export class ReadAhead {
  readonly #fileExtents: number
  /** Most recently used first. */
  #cursors: Cursor[] = []

  constructor(fileExtents: number) {
    this.#fileExtents = fileExtents
  }

  /**
   * Notes a read of the extents of `range` and returns those to be fetched ahead of it, which
   * may be none. Never beyond the end of the file.
   */
  advance(range: Range): Range {
    const found = this.#cursors.find(
      (cursor) =>
        range.start >= cursor.last && range.start <= Math.max(cursor.end, cursor.frontier),
    )
    const cursor = found ?? { last: range.start, end: range.end, frontier: range.end, level: 0 }
    this.#cursors = [cursor, ...this.#cursors.filter((other) => other !== cursor)]
    this.#cursors.length = Math.min(this.#cursors.length, MAX_CURSORS)
    if (found === undefined || range.end <= cursor.end) {
      return { start: range.end, end: range.end }
    }
    cursor.level = Math.min(cursor.level + 1, WINDOW_EXTENTS.length - 1)
    cursor.last = range.start
    cursor.end = range.end
    return this.#extend(cursor)
  }

  /** A window is renewed when half of it is used up: many small requests would be slower. */
  #extend(cursor: Cursor): Range {
    const window = WINDOW_EXTENTS[cursor.level] ?? 0
    const from = Math.max(cursor.frontier, cursor.end)
    if (from - cursor.end > window / 2) {
      return { start: from, end: from }
    }
    const to = Math.min(cursor.end + window, this.#fileExtents)
    cursor.frontier = Math.max(from, to)
    return { start: from, end: Math.max(from, to) }
  }
}
