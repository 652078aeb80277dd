import type { Dirent } from 'node:fs'
import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, forEachConcurrently, isErrno, type Logger, messageOf } from '../base/index.ts'
import {
  type Database,
  type EntryType,
  ExtentMap,
  type InodeId,
  inodeIdOf,
  inodeKey,
  type PlaceholderRecord,
  readRecord,
  type Stamp,
  type StorePaths,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import type { NameRules, Settler } from '../writeback/index.ts'

/** What is in the tree and in the store, counted by looking. */
export interface Census {
  files: number
  /** As programs see them: placeholders count in full. */
  bytes: number
  placeholders: number
  missingBytes: number
  /** Directories whose entries are not here yet: what is in them is in none of these counts. */
  unlistedDirectories: number
  dirtyFiles: number
  dirtyBytes: number
  /** The oldest last write of a dirty file. */
  oldestDirtyMs: number | undefined
  /** On disk; a file with several names counts once. */
  treeBytes: number
  blockBytes: number
  indexBytes: number
  /** When it was begun. */
  at: Date
}

const AT_ONCE = 16
/** A status that waits longer than this gets the last numbers. */
const PATIENCE_MS = 2000
/** Looking at everything again may take at most this part of the time. */
const REST_FACTOR = 4
const BLOCK_BYTES = 512n

export interface CensusParts {
  paths: Pick<StorePaths, 'tree' | 'extents' | 'nodes' | 'db'>
  database: Pick<Database, 'files'>
  names: NameRules
  settler: Pick<Settler, 'withheldFor'>
  clock: Clock
  logger: Logger
}

/** Counts at most as often as costs little, and one count at a time. */
export class CensusTaker {
  readonly #parts: CensusParts
  #last: Census | undefined
  #lastEndMs = Number.NEGATIVE_INFINITY
  #lastTookMs = 0
  #running: Promise<Census> | undefined
  readonly #stop = new AbortController()

  constructor(parts: CensusParts) {
    this.#parts = parts
  }

  /** The numbers of now, or the last ones where counting takes long. Undefined before the first. */
  async take(): Promise<Census | undefined> {
    const { clock } = this.#parts
    const now = clock.monotonicMs()
    if (this.#running === undefined && now - this.#lastEndMs >= this.#lastTookMs * REST_FACTOR) {
      this.#running = this.#count(now).finally(() => {
        this.#running = undefined
      })
      this.#running.catch((error: unknown) => {
        this.#parts.logger.warn('the tree could not be counted', { reason: messageOf(error) })
      })
    }
    const { promise: late, resolve } = Promise.withResolvers<undefined>()
    const timer = clock.setTimeout(() => resolve(undefined), PATIENCE_MS)
    try {
      return (await Promise.race([this.#running, late])) ?? this.#last
    } finally {
      timer.cancel()
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running?.catch(() => undefined)
  }

  async #count(startMs: number): Promise<Census> {
    const { clock, paths } = this.#parts
    const count = new Count(this.#parts, this.#stop.signal, clock.now())
    await count.walk('')
    count.census.blockBytes = await folderBytes(paths.nodes, this.#stop.signal)
    count.census.indexBytes = await folderBytes(paths.db, this.#stop.signal)
    this.#last = count.census
    this.#lastEndMs = clock.monotonicMs()
    this.#lastTookMs = this.#lastEndMs - startMs
    return count.census
  }
}

class Count {
  readonly census: Census
  readonly #parts: CensusParts
  readonly #signal: AbortSignal
  /** Inodes with several names that were seen. */
  readonly #seen = new Set<string>()

  constructor(parts: CensusParts, signal: AbortSignal, at: Date) {
    this.#parts = parts
    this.#signal = signal
    this.census = {
      files: 0,
      bytes: 0,
      placeholders: 0,
      missingBytes: 0,
      unlistedDirectories: 0,
      dirtyFiles: 0,
      dirtyBytes: 0,
      oldestDirtyMs: undefined,
      treeBytes: 0,
      blockBytes: 0,
      indexBytes: 0,
      at,
    }
  }

  async walk(path: string): Promise<void> {
    const folders: string[] = []
    const place = join(this.#parts.paths.tree, path)
    const record = recordIfThere(place)
    if (record !== undefined && record !== 'gone') {
      this.census.unlistedDirectories += 1
    }
    await forEachConcurrently(entriesOf(place), AT_ONCE, async (one) => {
      this.#signal.throwIfAborted()
      const child = path === '' ? one.name : `${path}/${one.name}`
      if (one.isDirectory()) {
        folders.push(child)
      } else {
        await this.#take(child, typeOf(one))
      }
    })
    for (const folder of folders) {
      await this.walk(folder)
    }
  }

  async #take(path: string, type: EntryType): Promise<void> {
    const place = join(this.#parts.paths.tree, path)
    const stats = await statIfThere(place)
    if (stats === undefined) {
      return
    }
    const id = inodeIdOf(stats)
    if (stats.nlink === 1n || !this.#seen.has(inodeKey(id))) {
      this.census.treeBytes += Number(stats.blocks * BLOCK_BYTES)
    }
    if (stats.nlink > 1n) {
      this.#seen.add(inodeKey(id))
    }
    if (type !== 'f') {
      return
    }
    const record = recordIfThere(place)
    if (record === 'gone') {
      return
    }
    this.census.files += 1
    if (record !== undefined) {
      await this.#takePlaceholder(id, record.sizeBytes)
      return
    }
    this.census.bytes += Number(stats.size)
    const row = await this.#parts.database.files.get(id)
    const clean = row !== undefined && sameStamp(row.stamp, stampOf(stats))
    if (!clean && !(await this.#staysHere(id, path, stampOf(stats)))) {
      this.census.dirtyFiles += 1
      this.census.dirtyBytes += Number(stats.size)
      const oldest = this.census.oldestDirtyMs ?? Number.POSITIVE_INFINITY
      this.census.oldestDirtyMs = Math.min(oldest, Number(stats.mtimeMs))
    }
  }

  /** What is in no root whatever is done about it is not dirty: nothing is waited for. */
  async #staysHere(id: InodeId, path: string, stamp: Stamp): Promise<boolean> {
    const { names, settler } = this.#parts
    return (
      names.reason(path, 'f') !== undefined ||
      settler.withheldFor(id, path, stamp) !== undefined ||
      (await names.isSecret(id))
    )
  }

  async #takePlaceholder(id: Parameters<typeof inodeKey>[0], sizeBytes: number): Promise<void> {
    this.census.bytes += sizeBytes
    this.census.placeholders += 1
    const extents = await ExtentMap.open(this.#parts.paths.extents, id, sizeBytes)
    for (const { start, end } of extents.missing({ start: 0, end: sizeBytes })) {
      this.census.missingBytes += end - start
    }
  }
}

async function folderBytes(folder: string, signal: AbortSignal): Promise<number> {
  let bytes = 0
  for await (const entry of entriesOf(folder)) {
    signal.throwIfAborted()
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      bytes += await folderBytes(path, signal)
    } else {
      bytes += Number(((await statIfThere(path))?.blocks ?? 0n) * BLOCK_BYTES)
    }
  }
  return bytes
}

/** A folder that goes while it is counted has no entries, nor has one that its owner closed. */
async function* entriesOf(folder: string): AsyncGenerator<Dirent> {
  try {
    yield* await opendir(folder)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) {
      throw error
    }
  }
}

async function statIfThere(path: string) {
  try {
    return await lstat(path, { bigint: true })
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) {
      return undefined
    }
    throw error
  }
}

/** Programs rename and remove while we look. */
function recordIfThere(place: string): PlaceholderRecord | undefined | 'gone' {
  try {
    return readRecord(place)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      return 'gone'
    }
    throw error
  }
}

function typeOf(entry: Dirent): EntryType {
  if (entry.isFile()) {
    return 'f'
  }
  return entry.isSymbolicLink() ? 'l' : 'o'
}
