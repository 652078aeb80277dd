import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import {
  type Clock,
  forEachConcurrently,
  isErrno,
  ModelcacheError,
  messageOf,
} from '../base/index.ts'
import type { Hydrator } from '../hydrate/index.ts'
import { printableName, type WireName } from '../mount/index.ts'
import { type InodeId, inodeIdOf, readRecord, type StorePaths } from '../tree/index.ts'

/** How far fetching has come; files of directories that are not listed yet are not in it. */
export interface FetchProgress {
  files: number
  ofFiles: number
  bytes: number
  ofBytes: number
}

export interface FetchAllParts {
  paths: Pick<StorePaths, 'tree'>
  hydrator: Pick<Hydrator, 'list' | 'fill' | 'stats'>
  clock: Clock
}

/** Each fetches many ranges at once by itself. */
const FILES_AT_ONCE = 4
/** People watch it, and a pipe has to hold it. */
const PROGRESS_EVERY_MS = 1000
/** A screen of names says what is wrong; the rest is a number. */
const MAX_NAMED = 20

const SLASH = Buffer.from('/')

/** A file or an unlisted directory that is not here, and why it could not be fetched. */
interface Missing {
  path: string
  reason: string | undefined
}

interface Remote {
  id: InodeId
  sizeBytes: number
}

interface RemoteFile extends Remote {
  path: Buffer
}

/**
 * Lists every directory and fetches every file of the tree. After the first one that cannot be had
 * nothing more is asked for: each would take a deadline of its own.
 *
 * @throws ModelcacheError `placeholders`, exit code 5, with what is missing
 */
export async function fetchAll(
  parts: FetchAllParts,
  report: (progress: FetchProgress) => void,
): Promise<void> {
  const run = new FetchRun(parts, report)
  await run.list(Buffer.alloc(0))
  await run.fetch()
  run.finish()
}

class FetchRun {
  readonly #parts: FetchAllParts
  readonly #report: (progress: FetchProgress) => void
  readonly #files: RemoteFile[] = []
  readonly #missing: Missing[] = []
  #gaveUp = false
  #done = 0
  #reportedAtMs: number

  constructor(parts: FetchAllParts, report: (progress: FetchProgress) => void) {
    this.#parts = parts
    this.#report = report
    this.#reportedAtMs = parts.clock.monotonicMs()
  }

  /** Finds what is remote, and lists what is not listed yet on the way. */
  async list(path: Buffer): Promise<void> {
    const place = this.#placeOf(path)
    const folders: Buffer[] = []
    await this.#try(path, async () => {
      const remote = await remoteAt(place)
      if (remote !== undefined) {
        await this.#ask(() => this.#parts.hydrator.list(named(path), remote.id))
      }
      for (const entry of await readdir(place, { withFileTypes: true, encoding: 'buffer' })) {
        const child = path.length === 0 ? entry.name : Buffer.concat([path, SLASH, entry.name])
        if (entry.isDirectory()) {
          folders.push(child)
        } else if (entry.isFile()) {
          await this.#try(child, () => this.#note(child))
        }
      }
    })
    this.#tellNow(false)
    for (const folder of folders) {
      await this.list(folder)
    }
  }

  async fetch(): Promise<void> {
    await forEachConcurrently(this.#files, FILES_AT_ONCE, async (file) => {
      await this.#try(file.path, async () => {
        await this.#ask(() => this.#fill(file))
        this.#done += 1
        this.#tellNow(false)
      })
    })
  }

  finish(): void {
    if (this.#files.length > 0) {
      this.#tellNow(true)
    }
    if (this.#missing.length > 0) {
      throw missingError(this.#missing)
    }
  }

  async #note(path: Buffer): Promise<void> {
    const remote = await remoteAt(this.#placeOf(path))
    if (remote !== undefined) {
      this.#files.push({ path, ...remote })
    }
  }

  async #fill({ path, id, sizeBytes }: RemoteFile): Promise<void> {
    const watch = this.#tellWhileFetching()
    try {
      const { complete } = await this.#parts.hydrator.fill(named(path), id, 0, sizeBytes)
      if (!complete) {
        throw new ModelcacheError('it is not complete after all of it was fetched', {
          code: 'not-complete',
        })
      }
    } finally {
      watch.end()
    }
  }

  /** A large file takes long by itself, and who waits wants to know that it moves. */
  #tellWhileFetching(): { end(): void } {
    const { clock } = this.#parts
    const tell = () => {
      this.#tellNow(false)
      timer = clock.setTimeout(tell, PROGRESS_EVERY_MS)
    }
    let timer = clock.setTimeout(tell, PROGRESS_EVERY_MS)
    return { end: () => timer.cancel() }
  }

  #ask(work: () => Promise<void>): Promise<void> {
    if (this.#gaveUp) {
      throw new ModelcacheError('not asked for any more', { code: 'gave-up' })
    }
    return work()
  }

  /** Notes what fails as missing. */
  async #try(path: Buffer, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const reason = this.#gaveUp ? undefined : messageOf(error)
      this.#gaveUp = true
      this.#missing.push({ path: printableName(named(path)) || '.', reason })
    }
  }

  #placeOf(path: Buffer): Buffer {
    return Buffer.concat([Buffer.from(this.#parts.paths.tree), SLASH, path])
  }

  #tellNow(always: boolean): void {
    const { clock, hydrator } = this.#parts
    const now = clock.monotonicMs()
    if (always || now - this.#reportedAtMs >= PROGRESS_EVERY_MS) {
      this.#reportedAtMs = now
      const ofBytes = this.#files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      const bytes = Math.min(hydrator.stats().bytes, ofBytes)
      this.#report({ files: this.#done, ofFiles: this.#files.length, bytes, ofBytes })
    }
  }
}

/** Undefined for what is here. A placeholder can always be read by its owner, so what cannot is none. */
async function remoteAt(place: Buffer): Promise<Remote | undefined> {
  try {
    const handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      const record = readRecord(handle.fd)
      return record === undefined
        ? undefined
        : { id: inodeIdOf(await handle.stat({ bigint: true })), sizeBytes: record.sizeBytes }
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (isErrno(error, 'EACCES')) {
      return undefined
    }
    throw error
  }
}

/** A path as the other parts take it: text where it can be. */
function named(path: Buffer): WireName {
  return isUtf8(path) ? path.toString() : path
}

function missingError(missing: readonly Missing[]): ModelcacheError {
  const named = missing.slice(0, MAX_NAMED)
  const rest = missing.length - named.length
  const lines = [
    ...named.map(({ path, reason }) => (reason === undefined ? path : `${path} (${reason})`)),
    ...(rest === 0 ? [] : [`and ${rest} more`]),
  ]
  return new ModelcacheError(
    `mount without an engine: ${missing.length} files or directories are still remote, and nobody ` +
      'would fetch them when they are read; name a --peer that has them and open the gate, or ' +
      `mount where FUSE is:\n${lines.map((line) => `  ${line}`).join('\n')}`,
    { code: 'placeholders', exitCode: 5 },
  )
}
