import { KeyedLock, ModelcacheError } from '../base/index.ts'
import { type InodeId, inodeKey, type Stamp, sameStamp } from './inode.ts'
import { createLeafIndex, type LeafIndex } from './leaf-index.ts'
import { type Level, openLevel, type Recovery, type Table } from './level.ts'
import { createObjectTable, type ObjectTable, objectOperations } from './object-table.ts'
import {
  type DirectoryRow,
  decodeDirectoryRow,
  decodeFileRow,
  decodeInodeIdKey,
  encodeDirectoryRow,
  encodeFileRow,
  type FileRow,
  inodeIdKey,
} from './rows.ts'

/** The rows of complete files. Losing one costs a hash, never a byte. */
export interface FileTable {
  get(id: InodeId): Promise<FileRow | undefined>
  /** Writes the row, and that of its object, in one step. */
  put(id: InodeId, row: FileRow): Promise<void>
  /** The file is dirty from now on. Its object stays known: see `objects.objectOf`. */
  delete(id: InodeId): Promise<void>
  /** Replaces the stamp where the row still has `old`; false where it does not. */
  renewStamp(id: InodeId, old: Stamp, next: Stamp): Promise<boolean>
  /** All rows as they are now, one at a time. */
  entries(): AsyncIterable<[InodeId, FileRow]>
}

/** What the last commit or listing made of each directory. */
export interface DirectoryTable {
  get(id: InodeId): Promise<DirectoryRow | undefined>
  put(id: InodeId, row: DirectoryRow): Promise<void>
  delete(id: InodeId): Promise<void>
  entries(): AsyncIterable<[InodeId, DirectoryRow]>
}

/** A set of inodes. */
export interface InodeSet {
  add(id: InodeId): Promise<void>
  has(id: InodeId): Promise<boolean>
  delete(id: InodeId): Promise<void>
  entries(): AsyncIterable<InodeId>
}

/** What a daemon leaves to the next one. Losing a note means doing something once more. */
export interface Notes {
  get(name: string): Promise<string | undefined>
  put(name: string, text: string): Promise<void>
}

/** The one database of a store. One process has it open at a time. */
export interface Database {
  files: FileTable
  directories: DirectoryTable
  leaves: LeafIndex
  objects: ObjectTable
  /** Inodes that had the name of a secret once: another name does not make them public. */
  secrets: InodeSet
  /** Inodes without a name in the tree whose object an older kept root needs. */
  retained: InodeSet
  /** Short notes by name, each durable when it is written. */
  notes: Notes
  /** Where it is not `none`, rows are missing: compare every stamp. */
  recovery: Recovery
  /** Makes everything written until now survive a power cut. */
  sync(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the database of a store (`StorePaths.db`).
 *
 * @throws ModelcacheError `database-locked` where another process has it open
 */
export async function openDatabase(dir: string): Promise<Database> {
  const level = await openLevel(dir)
  const marks = level.table('mark')
  return {
    files: createFileTable(level),
    directories: createDirectoryTable(level),
    leaves: createLeafIndex(level),
    objects: createObjectTable(level),
    // Durable at once: forgetting a secret would publish it.
    secrets: createInodeSet(level, level.table('secret'), true),
    // After an unclean stop they are found by their link counts.
    retained: createInodeSet(level, level.table('retained'), false),
    notes: createNotes(level, level.table('note')),
    recovery: level.recovery,
    // A synced write carries all earlier ones with it: LevelDB has one log.
    sync: () => level.write([marks.put(SYNC_MARK, new Uint8Array())], { sync: true }),
    close: () => level.close(),
  }
}

const SYNC_MARK = new Uint8Array(Buffer.from('sync'))

function createFileTable(level: Level): FileTable {
  const table = level.table('file')
  // Order of what reads a row and then writes it; a row is never locked across anything else.
  const lock = new KeyedLock()
  const write = async (id: InodeId, row: FileRow) => {
    const { oid, cid } = row
    const object = oid === null ? [] : await objectOperations(level, { oid, id, cid })
    await level.write([table.put(inodeIdKey(id), encodeFileRow(row)), ...object])
  }
  const get = async (id: InodeId) => {
    const bytes = await table.get(inodeIdKey(id))
    return bytes === undefined ? undefined : tolerant(() => decodeFileRow(bytes))
  }
  return {
    get,
    put: (id, row) => lock.run(inodeKey(id), () => write(id, row)),
    delete: (id) => lock.run(inodeKey(id), () => level.write([table.del(inodeIdKey(id))])),
    renewStamp: (id, old, next) =>
      lock.run(inodeKey(id), async () => {
        const row = await get(id)
        if (row === undefined || !sameStamp(row.stamp, old)) {
          return false
        }
        await level.write([table.put(inodeIdKey(id), encodeFileRow({ ...row, stamp: next }))])
        return true
      }),
    entries: () => rows(table, decodeFileRow),
  }
}

function createDirectoryTable(level: Level): DirectoryTable {
  const table = level.table('directory')
  return {
    async get(id) {
      const bytes = await table.get(inodeIdKey(id))
      return bytes === undefined ? undefined : tolerant(() => decodeDirectoryRow(bytes))
    },
    put: (id, row) => level.write([table.put(inodeIdKey(id), encodeDirectoryRow(row))]),
    delete: (id) => level.write([table.del(inodeIdKey(id))]),
    entries: () => rows(table, decodeDirectoryRow),
  }
}

function createInodeSet(level: Level, table: Table, sync: boolean): InodeSet {
  return {
    add: (id) => level.write([table.put(inodeIdKey(id), new Uint8Array())], { sync }),
    has: async (id) => (await table.get(inodeIdKey(id))) !== undefined,
    delete: (id) => level.write([table.del(inodeIdKey(id))]),
    async *entries() {
      for await (const [key] of table.entries()) {
        yield decodeInodeIdKey(key)
      }
    },
  }
}

function createNotes(level: Level, table: Table): Notes {
  const keyOf = (name: string) => new Uint8Array(Buffer.from(name))
  return {
    async get(name) {
      const bytes = await table.get(keyOf(name))
      return bytes === undefined ? undefined : Buffer.from(bytes).toString()
    },
    put: (name, text) =>
      level.write([table.put(keyOf(name), new Uint8Array(Buffer.from(text)))], { sync: true }),
  }
}

async function* rows<T>(
  table: Table,
  decode: (bytes: Uint8Array) => T,
): AsyncGenerator<[InodeId, T]> {
  for await (const [key, bytes] of table.entries()) {
    const row = tolerant(() => decode(bytes))
    if (row !== undefined) {
      yield [decodeInodeIdKey(key), row]
    }
  }
}

/** A row that cannot be read is as good as none: the file is hashed again. */
function tolerant<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    if (error instanceof ModelcacheError && error.code === 'malformed') {
      return undefined
    }
    throw error
  }
}
