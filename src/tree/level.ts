import { mkdir, rename, statfs } from 'node:fs/promises'
import { ClassicLevel } from 'classic-level'
import { codeOf, isErrno, KeyedLock, ModelcacheError, systemClock } from '../base/index.ts'

export type Bytes = Uint8Array

/** Both ends in bytes; without them everything. */
export interface KeyRange {
  gte?: Bytes
  lt?: Bytes
  lte?: Bytes
  limit?: number
}

/** One write of a batch. */
export type Operation =
  | { type: 'put'; table: string; key: Bytes; value: Bytes }
  | { type: 'del'; table: string; key: Bytes }

/** A table of bytes in the one database. */
export interface Table {
  get(key: Bytes): Promise<Bytes | undefined>
  entries(range?: KeyRange): AsyncIterable<[Bytes, Bytes]>
  put(key: Bytes, value: Bytes): Operation
  del(key: Bytes): Operation
}

/** `none`: opened as it was; `repaired`: rows may be missing; `replaced`: all are. */
export type Recovery = 'none' | 'repaired' | 'replaced'

/** classic-level, narrowed to what the tables need. */
export interface Level {
  readonly recovery: Recovery
  table(name: string): Table
  /** All or nothing. `sync`: durable when it returns; else with the next one that is. */
  write(operations: Operation[], options?: { sync: boolean }): Promise<void>
  close(): Promise<void>
}

type Database = ClassicLevel<Bytes, Bytes>

const ENCODING = { keyEncoding: 'view', valueEncoding: 'view' } as const
/** A damaged database costs rows, hence hashes, and never a byte: it does not stop a mount. */
const DAMAGED = 'LEVEL_CORRUPTION'
/** Opening writes out the log again (two write buffers of 4 MiB at most) and a manifest. */
const REOPEN_FREE_BYTES = 16 * 1024 * 1024

/**
 * Opens the database in a folder, and makes it where it is missing. A damaged one is repaired,
 * or put aside as `NAME.damaged-TIME` and begun anew; `recovery` says which.
 *
 * @throws ModelcacheError `database-locked` where another process has it open
 */
export async function openLevel(dir: string): Promise<Level> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  try {
    return new OpenLevel(dir, await openDatabase(dir), 'none')
  } catch (error) {
    if (!isDamage(error)) {
      throw openFailed(dir, error)
    }
  }
  try {
    await ClassicLevel.repair(dir)
    return new OpenLevel(dir, await openDatabase(dir), 'repaired')
  } catch (error) {
    if (!isDamage(error)) {
      throw openFailed(dir, error)
    }
  }
  await rename(dir, `${dir}.damaged-${systemClock.now().getTime()}`)
  await mkdir(dir, { mode: 0o700 })
  return new OpenLevel(dir, await openDatabase(dir), 'replaced')
}

/** A database that is open, and opened again where LevelDB needs it. */
class OpenLevel implements Level {
  readonly recovery: Recovery
  readonly #dir: string
  #db: Database
  /** A sublevel stays attached to its database: each is made once. */
  #sublevels = new Map<string, ReturnType<typeof sublevelOf>>()
  /** One key, `log`: the order of writes, of opening again and of closing. */
  readonly #lock = new KeyedLock()
  #torn = false
  #closed = false

  constructor(dir: string, db: Database, recovery: Recovery) {
    this.#dir = dir
    this.#db = db
    this.recovery = recovery
  }

  table(name: string): Table {
    return {
      get: async (key) => this.#sublevel(name).get(key),
      entries: (range = {}) => this.#sublevel(name).iterator(range),
      put: (key, value) => ({ type: 'put', table: name, key, value }),
      del: (key) => ({ type: 'del', table: name, key }),
    }
  }

  /**
   * A write that failed in the middle leaves a torn record in LevelDB's log; later writes
   * succeed, and recovery silently drops them (measured: a full disk, freed, rows written, gone
   * after the next open). So writes go one by one, and after a failed one the database is opened
   * again before the next: that cuts the torn record off.
   */
  async write(operations: Operation[], options = { sync: false }): Promise<void> {
    if (operations.length === 0) {
      return
    }
    await this.#lock.run('log', async () => {
      if (this.#torn) {
        await this.#openAgain()
      }
      const batch = operations.map(({ table, ...operation }) => ({
        ...operation,
        sublevel: this.#sublevel(table),
      }))
      try {
        await this.#db.batch<Bytes, Bytes>(batch, options)
      } catch (error) {
        this.#torn = true
        throw writeFailed(error)
      }
    })
  }

  close(): Promise<void> {
    return this.#lock.run('log', async () => {
      if (!this.#closed) {
        this.#closed = true
        await this.#db.close()
      }
    })
  }

  #sublevel(name: string) {
    const sublevel = this.#sublevels.get(name) ?? sublevelOf(this.#db, name)
    this.#sublevels.set(name, sublevel)
    return sublevel
  }

  /** Readers of the moment may fail; without room for it reading goes on and writing does not. */
  async #openAgain(): Promise<void> {
    if (this.#closed) {
      throw new ModelcacheError('write to the database: it is closed', { code: 'closed' })
    }
    const { bavail, bsize } = await statfs(this.#dir)
    if (bavail * bsize < REOPEN_FREE_BYTES) {
      throw diskFull(undefined)
    }
    await this.#db.close()
    await this.#db.open()
    this.#sublevels = new Map()
    this.#torn = false
  }
}

async function openDatabase(dir: string): Promise<Database> {
  const db: Database = new ClassicLevel<Bytes, Bytes>(dir, ENCODING)
  await db.open()
  return db
}

function sublevelOf(db: Database, name: string) {
  return db.sublevel<Bytes, Bytes>(name, ENCODING)
}

/** abstract-level wraps the reason of a failed open. */
function reasonOf(error: unknown): unknown {
  return codeOf(error) === 'LEVEL_DATABASE_NOT_OPEN' && error instanceof Error ? error.cause : error
}

function isDamage(error: unknown): boolean {
  return codeOf(reasonOf(error)) === DAMAGED
}

function openFailed(dir: string, error: unknown): ModelcacheError {
  const cause = reasonOf(error)
  const locked = codeOf(cause) === 'LEVEL_LOCKED'
  return new ModelcacheError(
    `open database ${dir}: ${locked ? 'another process has it open' : 'it cannot be opened'}`,
    { code: locked ? 'database-locked' : 'database', cause, exitCode: 1 },
  )
}

/** LevelDB names a full disk only in its text. */
function writeFailed(error: unknown): unknown {
  const text = error instanceof Error ? error.message : ''
  return isErrno(error, 'ENOSPC') || /no space left/i.test(text) ? diskFull(error) : error
}

function diskFull(cause: unknown): ModelcacheError {
  return new ModelcacheError('write to the database: no space is left', {
    code: 'ENOSPC',
    errno: 'ENOSPC',
    cause,
  })
}
