import type { FileHandle } from 'node:fs/promises'
import {
  type Clock,
  forEachConcurrently,
  type Logger,
  ModelcacheError,
  messageOf,
  type Range,
  reached,
} from '../base/index.ts'
import {
  completePlaceholder,
  EXTENT_BYTES,
  type ExtentMap,
  type InodeId,
  type PlaceholderRecord,
  readRecord,
} from '../tree/index.ts'
import { assertSize, type CompletedFile, describeFile } from './completed-file.ts'
import { indexesOf, joined, runsOf } from './extent-runs.ts'
import { abandoned, type FetchJob, type Flight, newFetchJob, waitForFlights } from './fetch-job.ts'
import type { FetchSlots, Release } from './fetch-slots.ts'
import { fileBytes, writeAll } from './file-bytes.ts'
import type { HydrateLimits } from './limits.ts'
import type { Patience } from './patience.ts'
import { ReadAhead } from './read-ahead.ts'
import type { Sources } from './sources.ts'

/** What all placeholders share. */
export interface HydrateContext {
  sources: Sources
  slots: FetchSlots
  limits: HydrateLimits
  clock: Clock
  logger: Logger
  /** Bytes that were verified and written. */
  onBytes(count: number): void
}

/**
 * One placeholder that is being read: which extents are here, which are on their way, and by
 * which request. Each extent is fetched by one request at a time. The owner opens and closes it
 * under the inode's lock.
 */
export class PlaceholderFile {
  readonly id: InodeId
  readonly record: PlaceholderRecord
  readonly #context: HydrateContext
  readonly #handle: FileHandle
  readonly #extents: ExtentMap
  readonly #readAhead: ReadAhead
  readonly #onWhole: () => void
  readonly #jobs = new Set<FetchJob>()
  readonly #flights = new Map<number, Flight>()
  /** In the file and readable, but not durable yet: not in the map on disk. */
  readonly #volatile = new Set<number>()
  /** Extents that are neither durable nor volatile. */
  #missing: number
  #completion: Promise<CompletedFile | undefined> | undefined
  #closing: ModelcacheError | undefined
  #sizeChecked: Promise<void> | undefined
  /** Requests that began before the last one may have lost what they wrote. */
  #failedSyncs = 0
  /** One sync after the other. */
  #syncing: Promise<void> = Promise.resolve()

  /** @param onWhole - called when the last extent came, and again if completing failed then */
  constructor(
    context: HydrateContext,
    id: InodeId,
    record: PlaceholderRecord,
    handle: FileHandle,
    extents: ExtentMap,
    onWhole: () => void,
  ) {
    this.id = id
    this.record = record
    this.#context = context
    this.#handle = handle
    this.#extents = extents
    this.#readAhead = new ReadAhead(extents.count)
    this.#onWhole = onWhole
    this.#missing = extents.count - extents.present
  }

  /** True while nothing is on its way. */
  get idle(): boolean {
    return this.#jobs.size === 0 && this.#completion === undefined
  }

  /** True when every byte can be read from the file. */
  get whole(): boolean {
    return this.#missing === 0
  }

  /**
   * Waits until every byte of the range can be read from the file, and starts to read ahead.
   * Bytes past the end of the file need nothing.
   *
   * @throws what the sources throw for good, `deadline`, `detached`, a system error of the write
   */
  async require(bytes: Range, patience: Patience): Promise<void> {
    const range = {
      start: Math.floor(bytes.start / EXTENT_BYTES),
      end: Math.min(Math.ceil(bytes.end / EXTENT_BYTES), this.#extents.count),
    }
    const { jobExtents, jobsPerFill } = this.#context.limits
    if (range.start < range.end) {
      this.#startAhead(this.#readAhead.advance(range))
    }
    await forEachConcurrently(runsOf(range, jobExtents), jobsPerFill, (run) =>
      this.#requireRun(run, patience),
    )
  }

  /**
   * Makes the placeholder a complete file once its last byte is here. Everyone gets the same
   * answer: what became of it, or undefined where it could not be done now (it was logged, and
   * the next call tries again). The bytes can be read in any case.
   */
  complete(): Promise<CompletedFile | undefined> {
    this.#completion ??= this.#complete().catch((error: unknown) => {
      this.#completion = undefined
      this.#context.logger.warn('could not complete a file', {
        cid: this.record.cid.toString(),
        reason: messageOf(error),
      })
      return undefined
    })
    return this.#completion
  }

  /** Makes what has arrived durable, and says so in the extent map. */
  sync(): Promise<void> {
    this.#syncing = this.#syncing.then(() => this.#sync())
    return this.#syncing
  }

  /**
   * Stops all requests; no write of ours follows.
   *
   * @param forget - nothing is to be recorded: the bytes are about to be cut off or dropped
   */
  async close(forget: boolean): Promise<void> {
    this.#closing = new ModelcacheError(`${this.record.cid}: the file was let go`, {
      code: 'detached',
      errno: 'ECANCELED',
    })
    for (const job of this.#jobs) {
      job.controller.abort(this.#closing)
    }
    await Promise.all([...this.#jobs].map((job) => job.done))
    await this.#completion
    try {
      await (forget ? this.#syncing : this.sync())
    } finally {
      await this.#handle.close()
    }
    if (forget) {
      await this.#extents.remove()
    }
  }

  #has(index: number): boolean {
    return this.#extents.has(index) || this.#volatile.has(index)
  }

  async #requireRun(run: Range, patience: Patience): Promise<void> {
    while (true) {
      this.#throwIfClosing()
      const missing = indexesOf(run).filter((index) => !this.#has(index))
      if (missing.length === 0) {
        return
      }
      const error = await waitForFlights(this.#flightsFor(missing), patience)
      if (error !== undefined) {
        this.#throwIfClosing()
        await patience.pauseAfter(error)
      }
    }
  }

  /** The flights of these extents: those under way, and new ones. */
  #flightsFor(missing: readonly number[]): Flight[] {
    for (const run of joined(missing.filter((index) => !this.#flights.has(index)))) {
      this.#startJob(run)
    }
    return missing.flatMap((index) => this.#flights.get(index) ?? [])
  }

  #startAhead(range: Range): void {
    const wanted = indexesOf(range).filter(
      (index) => !this.#has(index) && !this.#flights.has(index),
    )
    for (const gap of joined(wanted)) {
      for (const run of runsOf(gap, this.#context.limits.jobExtents)) {
        const release = this.#closing ? undefined : this.#context.slots.tryAcquireAhead()
        if (release === undefined) {
          return
        }
        this.#startJob(run, release)
      }
    }
  }

  /** @param release - of a slot that is held already: for read-ahead */
  #startJob(run: Range, release?: Release): void {
    const job = newFetchJob(release !== undefined)
    const arrivals = new Map<number, PromiseWithResolvers<void>>()
    for (const index of indexesOf(run)) {
      const arrival = Promise.withResolvers<void>()
      // Read-ahead that fails is nobody's failure; who waits is told through its own wait.
      arrival.promise.catch(() => undefined)
      arrivals.set(index, arrival)
      this.#flights.set(index, { job, arrived: arrival.promise })
    }
    this.#jobs.add(job)
    job.done = this.#run(job, run, release, (index) => {
      this.#flights.delete(index)
      arrivals.get(index)?.resolve()
      arrivals.delete(index)
    })
      .catch((error: unknown) => {
        this.#logFailure(job, run, error)
        for (const [index, arrival] of arrivals) {
          this.#flights.delete(index)
          arrival.reject(error)
        }
      })
      .finally(() => {
        this.#jobs.delete(job)
        if (this.whole && this.#closing === undefined) {
          this.#onWhole()
        }
      })
  }

  async #run(
    job: FetchJob,
    run: Range,
    held: Release | undefined,
    onExtent: (index: number) => void,
  ): Promise<void> {
    const { slots, clock, limits } = this.#context
    const { signal } = job.controller
    const release = held ?? (await slots.acquire(signal, () => tell(job.listeners)))
    const sinceMs = clock.monotonicMs()
    const failedSyncs = this.#failedSyncs
    try {
      const { sources } = this.#context
      await this.#checkSize()
      const end = Math.min(run.end * EXTENT_BYTES, this.#extents.sizeBytes)
      const range = { start: run.start * EXTENT_BYTES, end }
      let next = run.start
      for await (const { offset, bytes } of fileBytes(sources, this.record, range, signal)) {
        await writeAll(this.#handle, bytes, offset)
        if (failedSyncs !== this.#failedSyncs) {
          throw abandoned('what was fetched before could not be made durable')
        }
        this.#context.onBytes(bytes.length)
        for (; next < run.end && this.#endOf(next) <= offset + bytes.length; next += 1) {
          this.#volatile.add(next)
          this.#missing -= 1
          onExtent(next)
        }
        signal.throwIfAborted()
        // Over a slow line a long request would let others run into their deadlines.
        if (next < run.end && slots.contended && clock.monotonicMs() - sinceMs > limits.turnMs) {
          throw abandoned('others wait for their turn')
        }
      }
    } finally {
      release()
    }
    if (this.#volatile.size >= limits.syncExtents) {
      await this.sync()
    }
  }

  /** The size in the record came from meta; the file's own nodes have the last word. */
  #checkSize(): Promise<void> {
    this.#sizeChecked ??= assertSize(this.#context.sources, this.record).catch((error) => {
      this.#sizeChecked = undefined
      throw error
    })
    return this.#sizeChecked
  }

  #endOf(index: number): number {
    return Math.min((index + 1) * EXTENT_BYTES, this.#extents.sizeBytes)
  }

  async #sync(): Promise<void> {
    let indexes = [...this.#volatile]
    if (indexes.length === 0) {
      return
    }
    try {
      await this.#handle.datasync()
      reached('fill.synced')
      await this.#extents.markDurable(indexes)
      reached('fill.marked')
    } catch (error) {
      // After a failed fdatasync the kernel may have dropped any page that was not on disk, and
      // tells it once: everything that came meanwhile, too, is fetched again.
      indexes = [...this.#volatile]
      this.#failedSyncs += 1
      this.#context.logger.error('could not make fetched bytes durable', {
        cid: this.record.cid.toString(),
        reason: messageOf(error),
      })
    }
    for (const index of indexes) {
      this.#volatile.delete(index)
      this.#missing += this.#extents.has(index) ? 0 : 1
    }
  }

  async #complete(): Promise<CompletedFile | undefined> {
    await Promise.all([...this.#jobs].map((job) => job.done))
    await this.sync()
    const described = await describeFile(this.#context.sources, this.record)
    if (this.#closing !== undefined || !this.whole) {
      return undefined
    }
    // Mode and mtime may have been changed since the file was opened here.
    const record = readRecord(this.#handle.fd) ?? this.record
    const stamp = await completePlaceholder(this.#handle.fd, record)
    await this.#extents.remove()
    reached('complete.map-removed')
    return { ...described, stamp }
  }

  #throwIfClosing(): void {
    if (this.#closing !== undefined) {
      throw this.#closing
    }
  }

  #logFailure(job: FetchJob, run: Range, error: unknown): void {
    this.#context.logger.debug('a fetch failed', {
      cid: this.record.cid.toString(),
      offset: run.start * EXTENT_BYTES,
      ahead: job.ahead,
      reason: messageOf(error),
    })
  }
}

function tell(listeners: Iterable<() => void>): void {
  for (const listener of listeners) {
    listener()
  }
}
