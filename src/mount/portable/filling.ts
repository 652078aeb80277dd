import { type Clock, type Range, RangeSet } from '../../base/index.ts'
import { ExtentMap, type InodeId } from '../../tree/index.ts'

/**
 * The kernel reads a page again, at once, when its read-ahead failed (mm/filemap.c,
 * filemap_read_folio): a program must not wait for two deadlines.
 */
const FAILURE_STANDS_MS = 100

/** Which bytes of an open placeholder can be read, as far as it is known here. */
export class Filling {
  readonly id: InodeId
  readonly sizeBytes: number
  /** No placeholder any more: whatever is in the file is the file. */
  isComplete = false
  readonly #extents: string
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #present = new RangeSet()
  #failed: { range: Range; atMs: number } | undefined

  /** @param extents the store's directory of extent maps */
  constructor(id: InodeId, sizeBytes: number, extents: string, clock: Pick<Clock, 'monotonicMs'>) {
    this.id = id
    this.sizeBytes = sizeBytes
    this.#extents = extents
    this.#clock = clock
  }

  add(range: Range): void {
    this.#present.add(range)
  }

  covers(range: Range): boolean {
    return this.isComplete || this.#present.covers(range)
  }

  /** The same after a look at the map on disk, which says what was fetched before. */
  async coversOnDisk(range: Range): Promise<boolean> {
    const map = await ExtentMap.open(this.#extents, this.id, this.sizeBytes)
    const known = new RangeSet([range])
    for (const missing of map.missing(range)) {
      known.subtract(missing)
    }
    for (const present of known.ranges) {
      this.#present.add(present)
    }
    return this.covers(range)
  }

  noteFailure(range: Range): void {
    this.#failed = { range, atMs: this.#clock.monotonicMs() }
  }

  /** Whether these bytes failed a moment ago. */
  justFailed({ start, end }: Range): boolean {
    const failed = this.#failed
    return (
      failed !== undefined &&
      failed.range.start < end &&
      start < failed.range.end &&
      this.#clock.monotonicMs() - failed.atMs < FAILURE_STANDS_MS
    )
  }
}
