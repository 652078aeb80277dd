import { constants } from 'node:fs'
import {
  type Clock,
  errnoOf,
  isErrno,
  KeyedLock,
  type Logger,
  ModelcacheError,
  messageOf,
  systemClock,
  type Timer,
} from '../base/index.ts'
import {
  type Database,
  ExtentMap,
  type InodeId,
  inodeIdOf,
  inodeKey,
  readRecord,
  removeExtentMap,
  type StorePaths,
  sameInode,
} from '../tree/index.ts'
import type { CompletedFile } from './completed-file.ts'
import { FetchSlots } from './fetch-slots.ts'
import { DEFAULT_HYDRATE_LIMITS, type HydrateLimits } from './limits.ts'
import { listUnlisted } from './lister.ts'
import { Patience } from './patience.ts'
import { type HydrateContext, PlaceholderFile } from './placeholder-file.ts'
import type { Sources } from './sources.ts'
import { openPlace, placeOf, shownPath, stale, type TreePath } from './tree-path.ts'

export interface HydrateOptions {
  /**
   * Opens the file or directory where the tree-relative path may not lead to it any more, such as
   * `/proc/PID/fd/N` of the keeper.
   */
  at?: string | undefined
  signal?: AbortSignal | undefined
}

/** Makes what is remote present. The answers to the keeper's `list`, `fill` and `detach`. */
export interface Hydrator {
  /**
   * Creates the entries of a directory that is not listed yet. Resolves when they and the end of
   * its being unlisted are durable; at once for one that is listed. One listing at a time.
   */
  list(path: TreePath, id: InodeId, options?: Pick<HydrateOptions, 'at'>): Promise<void>
  /**
   * Waits until every byte of `[offset, offset + length)` can be read from the file.
   *
   * @returns `complete`: the file is no placeholder any more
   * @throws errno EIO when the bytes cannot be had within the deadline (one line is logged),
   *   ESTALE when the path has another file or none, ECANCELED when it was detached meanwhile
   */
  fill(
    path: TreePath,
    id: InodeId,
    offset: number,
    length: number,
    options?: HydrateOptions,
  ): Promise<{ complete: boolean }>
  /** Returns when no write into this inode is under way; what was known of it is forgotten. */
  detach(id: InodeId): Promise<void>
  stats(): HydrateStats
  /** Stops all fetching, makes what came durable. Idempotent. */
  close(): Promise<void>
}

export interface HydrateStats {
  /** Requests to peers and listings of directories under way. */
  active: number
  /** Bytes that were verified and written since the start. */
  bytes: number
  /** Lists and fills that failed. */
  errors: number
}

export interface HydratorComponents {
  paths: Pick<StorePaths, 'tree' | 'extents' | 'staging'>
  database: Pick<Database, 'files' | 'directories' | 'sync'>
  /** Makes the nodes that were fetched survive a power cut; `NodeStore` has it. */
  nodes: { flush(): Promise<void> }
  sources: Sources
  /**
   * A placeholder became a complete file (also by read-ahead, with no fill waiting). Called in
   * the background, once; what it throws is logged.
   */
  onComplete(path: TreePath, id: InodeId, file: CompletedFile): Promise<void>
  logger: Logger
  clock?: Clock
}

/** Creates the hydrator of one store. */
export function createHydrator(
  components: HydratorComponents,
  limits: Partial<HydrateLimits> = {},
): Hydrator {
  return new TreeHydrator(components, { ...DEFAULT_HYDRATE_LIMITS, ...limits })
}

/** A placeholder that is open here. */
interface Entry {
  readonly file: PlaceholderFile
  /** Where it was last seen, for `onComplete`. */
  path: TreePath
  users: number
  usedAtMs: number
}

class TreeHydrator implements Hydrator {
  readonly #components: HydratorComponents
  readonly #limits: HydrateLimits
  readonly #clock: Clock
  readonly #context: HydrateContext
  readonly #slots: FetchSlots
  /** Per inode: opening and closing its entry. Held across a sync, never across a fetch. */
  readonly #lock = new KeyedLock()
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>()
  /** Listings under way, by inode: whoever asks for the same waits for the same. */
  readonly #lists = new Map<string, Promise<void>>()
  /** Completions and closings in the background; `close` waits for them. */
  readonly #background = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  #sweep: Timer | undefined
  #bytes = 0
  #errors = 0

  constructor(components: HydratorComponents, limits: HydrateLimits) {
    this.#components = components
    this.#limits = limits
    this.#clock = components.clock ?? systemClock
    this.#slots = new FetchSlots(limits.jobs, limits.aheadJobs)
    this.#context = {
      sources: components.sources,
      slots: this.#slots,
      limits,
      clock: this.#clock,
      logger: components.logger,
      onBytes: (count) => {
        this.#bytes += count
      },
    }
  }

  list(path: TreePath, id: InodeId, { at }: HydrateOptions = {}): Promise<void> {
    const key = inodeKey(id)
    const running = this.#lists.get(key)
    if (running !== undefined) {
      return running
    }
    const listing = this.#patiently(undefined, `list ${shownPath(path)}`, async (patience) => {
      const place = placeOf(this.#components.paths.tree, path, at)
      await listUnlisted(this.#components, { path, place, follow: at !== undefined, id }, patience)
    }).finally(() => this.#lists.delete(key))
    this.#lists.set(key, listing)
    return listing
  }

  async fill(
    path: TreePath,
    id: InodeId,
    offset: number,
    length: number,
    options: HydrateOptions = {},
  ): Promise<{ complete: boolean }> {
    const what = `read ${shownPath(path)} at ${offset}`
    return await this.#patiently(options.signal, what, async (patience) => {
      const entry = await this.#acquire(path, id, options.at)
      if (entry === undefined) {
        return { complete: true }
      }
      try {
        const { file } = entry
        await describeFailure(file, file.require({ start: offset, end: offset + length }, patience))
        return { complete: file.whole && (await this.#complete(entry)) }
      } finally {
        entry.users -= 1
        entry.usedAtMs = this.#clock.monotonicMs()
      }
    })
  }

  async detach(id: InodeId): Promise<void> {
    const key = inodeKey(id)
    await this.#lock.run(key, async () => {
      const entry = this.#entries.get(key)
      this.#entries.delete(key)
      await entry?.file.close(true)
      await removeExtentMap(this.#components.paths.extents, id)
    })
  }

  stats(): HydrateStats {
    return { active: this.#slots.used + this.#lists.size, bytes: this.#bytes, errors: this.#errors }
  }

  async close(): Promise<void> {
    this.#closing.abort(
      new ModelcacheError('the daemon is stopping', { code: 'closed', errno: 'EIO' }),
    )
    this.#sweep?.cancel()
    await Promise.allSettled([...this.#entries.values()].map((entry) => this.#park(entry, true)))
    while (this.#background.size > 0) {
      await Promise.allSettled(this.#background)
    }
    await Promise.allSettled(this.#lists.values())
  }

  /** Runs with a deadline; a failure is logged once, with all that names it. */
  async #patiently<T>(
    signal: AbortSignal | undefined,
    what: string,
    work: (patience: Patience) => Promise<T>,
  ): Promise<T> {
    const { logger } = this.#components
    this.#closing.signal.throwIfAborted()
    const ending =
      signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal])
    const patience = new Patience(this.#limits.deadlineMs, ending, this.#clock)
    try {
      return await work(patience)
    } catch (error) {
      if (!ending.aborted && !isErrno(error, 'ECANCELED', 'ESTALE')) {
        this.#errors += 1
        logger.error(`${what}: failed`, { errno: errnoOf(error), reason: messageOf(error) })
      }
      throw error
    } finally {
      patience.end()
    }
  }

  /** The open placeholder, with one more user; undefined for a file that is complete. */
  async #acquire(path: TreePath, id: InodeId, at?: string): Promise<Entry | undefined> {
    const key = inodeKey(id)
    const entry = await this.#lock.run(key, async () => {
      this.#closing.signal.throwIfAborted()
      const known = this.#entries.get(key)
      const found = known ?? (await this.#open(path, id, at))
      if (found !== undefined) {
        found.users += 1
        found.path = path
        found.usedAtMs = this.#clock.monotonicMs()
        // Set again, so that the map stays in the order of use.
        this.#entries.delete(key)
        this.#entries.set(key, found)
      }
      return found
    })
    this.#scheduleSweep()
    return entry
  }

  async #open(path: TreePath, id: InodeId, at?: string): Promise<Entry | undefined> {
    const place = placeOf(this.#components.paths.tree, path, at)
    const handle = await openPlace(place, constants.O_RDWR, at !== undefined)
    try {
      const stats = await handle.stat({ bigint: true })
      if (!stats.isFile() || !sameInode(inodeIdOf(stats), id)) {
        throw stale(path)
      }
      const record = readRecord(handle.fd)
      if (record === undefined) {
        await handle.close()
        return undefined
      }
      const extents = await ExtentMap.open(this.#components.paths.extents, id, record.sizeBytes)
      const file = new PlaceholderFile(this.#context, id, record, handle, extents, () => {
        const entry = this.#entries.get(inodeKey(id))
        if (entry?.file === file) {
          this.#inBackground(this.#complete(entry).then(() => undefined))
        }
      })
      return { file, path, users: 0, usedAtMs: 0 }
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** True when the file is no placeholder any more. */
  async #complete(entry: Entry): Promise<boolean> {
    const { file } = entry
    const completed = await file.complete()
    if (completed === undefined) {
      return false
    }
    const key = inodeKey(file.id)
    // The first one that comes here lets the file go and tells the owner.
    if (this.#entries.get(key) === entry) {
      this.#entries.delete(key)
      this.#inBackground(this.#handOver(entry, completed))
    }
    return true
  }

  /** Our descriptor is for writing: it has to be gone before anybody can take a read lease. */
  async #handOver({ file, path }: Entry, completed: CompletedFile): Promise<void> {
    await this.#lock.run(inodeKey(file.id), () => file.close(false))
    await this.#components.onComplete(path, file.id, completed)
  }

  /** Makes durable what came and closes the descriptor; the next read opens it again. */
  #park(entry: Entry, evenIfUsed = false): Promise<void> {
    const key = inodeKey(entry.file.id)
    return this.#lock.run(key, async () => {
      const free = entry.users === 0 && entry.file.idle
      if (this.#entries.get(key) === entry && (free || evenIfUsed)) {
        this.#entries.delete(key)
        await entry.file.close(false)
      }
    })
  }

  #scheduleSweep(): void {
    const tooMany = this.#entries.size > this.#limits.openFiles
    if (tooMany) {
      this.#parkIdle(this.#entries.size - this.#limits.openFiles, 0)
    }
    if (this.#sweep === undefined && !this.#closing.signal.aborted) {
      this.#sweep = this.#clock.setTimeout(() => {
        this.#sweep = undefined
        this.#parkIdle(Number.POSITIVE_INFINITY, this.#limits.idleMs)
        if (this.#entries.size > 0) {
          this.#scheduleSweep()
        }
      }, this.#limits.idleMs)
    }
  }

  #parkIdle(most: number, unusedMs: number): void {
    const before = this.#clock.monotonicMs() - unusedMs
    let count = 0
    for (const entry of this.#entries.values()) {
      if (count >= most) {
        return
      }
      if (entry.users === 0 && entry.file.idle && entry.usedAtMs <= before) {
        count += 1
        this.#inBackground(this.#park(entry))
      }
    }
  }

  #inBackground(work: Promise<void>): void {
    const guarded = work
      .catch((error: unknown) => {
        this.#components.logger.error('finishing a fetched file failed', {
          errno: errnoOf(error),
          reason: messageOf(error),
        })
      })
      .finally(() => this.#background.delete(guarded))
    this.#background.add(guarded)
  }
}

/** Errors name the CID: with the path it says which bytes could not be had. */
async function describeFailure(file: PlaceholderFile, work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    const message = messageOf(error)
    const cid = file.record.cid.toString()
    throw new ModelcacheError(message.includes(cid) ? message : `${cid}: ${message}`, {
      code: error instanceof ModelcacheError ? error.code : 'fill-failed',
      errno: errnoOf(error),
      cause: error,
    })
  }
}
