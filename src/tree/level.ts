import { mkdir, rename } from 'node:fs/promises'
import { ClassicLevel } from 'classic-level'
import { codeOf, isErrno, ModelcacheError, systemClock } from '../base/index.ts'

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
  | { type: 'put'; sublevel: Sublevel; key: Bytes; value: Bytes }
  | { type: 'del'; sublevel: Sublevel; key: Bytes }

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
type Sublevel = ReturnType<typeof sublevelOf>

const ENCODING = { keyEncoding: 'view', valueEncoding: 'view' } as const
/** A damaged database costs rows, hence hashes, and never a byte: it does not stop a mount. */
const DAMAGED = ['LEVEL_CORRUPTION', 'LEVEL_IO_ERROR', 'LEVEL_INVALID_ARGUMENT']

/**
 * Opens the database in a folder, and makes it where it is missing. A damaged one is repaired,
 * or put aside as `NAME.damaged-TIME` and begun anew; `recovery` says which.
 *
 * @throws ModelcacheError `database-locked` where another process has it open
 */
export async function openLevel(dir: string): Promise<Level> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  try {
    return wrap(await openDatabase(dir), 'none')
  } catch (error) {
    if (!isDamage(error)) {
      throw openFailed(dir, error)
    }
  }
  try {
    await ClassicLevel.repair(dir)
    return wrap(await openDatabase(dir), 'repaired')
  } catch (error) {
    if (!isDamage(error)) {
      throw openFailed(dir, error)
    }
  }
  await rename(dir, `${dir}.damaged-${systemClock.now().getTime()}`)
  await mkdir(dir, { mode: 0o700 })
  return wrap(await openDatabase(dir), 'replaced')
}

async function openDatabase(dir: string): Promise<Database> {
  const db: Database = new ClassicLevel<Bytes, Bytes>(dir, ENCODING)
  await db.open()
  return db
}

/** abstract-level wraps the reason of a failed open. */
function reasonOf(error: unknown): unknown {
  return codeOf(error) === 'LEVEL_DATABASE_NOT_OPEN' && error instanceof Error ? error.cause : error
}

function isDamage(error: unknown): boolean {
  return DAMAGED.includes(codeOf(reasonOf(error)) ?? '')
}

function openFailed(dir: string, error: unknown): ModelcacheError {
  const cause = reasonOf(error)
  const locked = codeOf(cause) === 'LEVEL_LOCKED'
  return new ModelcacheError(
    `open database ${dir}: ${locked ? 'another process has it open' : 'it cannot be opened'}`,
    { code: locked ? 'database-locked' : 'database', cause, exitCode: 1 },
  )
}

function sublevelOf(db: Database, name: string) {
  return db.sublevel<Bytes, Bytes>(name, ENCODING)
}

function wrap(db: Database, recovery: Recovery): Level {
  // A sublevel stays attached to its database: each is made once.
  const tables = new Map<string, Table>()

  return {
    recovery,

    table(name) {
      const table = tables.get(name) ?? tableOf(sublevelOf(db, name))
      tables.set(name, table)
      return table
    },

    async write(operations, options = { sync: false }) {
      if (operations.length === 0) {
        return
      }
      try {
        await db.batch<Bytes, Bytes>(operations, options)
      } catch (error) {
        throw diskFull(error)
      }
    },

    close: () => db.close(),
  }
}

function tableOf(sublevel: Sublevel): Table {
  return {
    get: (key) => sublevel.get(key),
    entries: (range = {}) => sublevel.iterator(range),
    put: (key, value) => ({ type: 'put', sublevel, key, value }),
    del: (key) => ({ type: 'del', sublevel, key }),
  }
}

/** LevelDB names a full disk only in its text. */
function diskFull(error: unknown): unknown {
  const text = error instanceof Error ? error.message : ''
  if (isErrno(error, 'ENOSPC') || /no space left/i.test(text)) {
    return new ModelcacheError('write to the database: no space is left', {
      code: 'ENOSPC',
      errno: 'ENOSPC',
      cause: error,
    })
  }
  return error
}
