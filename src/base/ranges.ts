/** A half-open range of bytes or of indexes: `start` is in it, `end` is not. */
export interface Range {
  start: number
  end: number
}

/** A set of numbers kept as sorted ranges that neither overlap nor touch. */
export class RangeSet {
  #ranges: Range[] = []

  constructor(ranges: Iterable<Range> = []) {
    for (const range of ranges) {
      this.add(range)
    }
  }

  /** The ranges in ascending order. */
  get ranges(): readonly Readonly<Range>[] {
    return this.#ranges
  }

  /** How many numbers are in the set. */
  get size(): number {
    return this.#ranges.reduce((sum, range) => sum + range.end - range.start, 0)
  }

  add(range: Range): void {
    if (range.end <= range.start) {
      return
    }
    const merged = { ...range }
    const before: Range[] = []
    const after: Range[] = []
    for (const own of this.#ranges) {
      if (own.end < merged.start) {
        before.push(own)
      } else if (own.start > merged.end) {
        after.push(own)
      } else {
        merged.start = Math.min(merged.start, own.start)
        merged.end = Math.max(merged.end, own.end)
      }
    }
    this.#ranges = [...before, merged, ...after]
  }

  subtract(range: Range): void {
    if (range.end > range.start) {
      this.#ranges = this.#ranges.flatMap((own) => without(own, range))
    }
  }

  /** True when every number of the range is in the set; an empty range always is. */
  covers(range: Range): boolean {
    if (range.end <= range.start) {
      return true
    }
    return this.#ranges.some((own) => own.start <= range.start && own.end >= range.end)
  }

  /** The parts of the range that are not in the set, in ascending order. */
  missing(range: Range): Range[] {
    let rest = range.end > range.start ? [{ ...range }] : []
    for (const own of this.#ranges) {
      rest = rest.flatMap((part) => without(part, own))
    }
    return rest
  }
}

/** What is left of `range` when `hole` is taken out: none, one or two ranges. */
function without(range: Range, hole: Range): Range[] {
  if (hole.end <= range.start || hole.start >= range.end) {
    return [{ ...range }]
  }
  return [
    { start: range.start, end: hole.start },
    { start: hole.end, end: range.end },
  ].filter((part) => part.end > part.start)
}
