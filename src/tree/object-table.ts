import type { CID } from 'multiformats/cid'
import { KeyedLock } from '../base/index.ts'
import type { InodeId } from './inode.ts'
import type { Level, Operation } from './level.ts'
import { decodeObjectRow, encodeObjectRow, inodeIdKey, type ObjectRow, u64Key } from './rows.ts'

/**
 * The objects: numbers of hard links to settled files. An object outlives the row of its file,
 * so that a file that became dirty and is settled again keeps its number.
 */
export interface ObjectTable {
  /** A number that was never given out before, also when the process was killed since. */
  nextOid(): Promise<bigint>
  /** Makes `nextOid` give only numbers above this one: what `objects/` holds already. */
  raiseOid(oid: bigint): Promise<void>
  /** Normally written by `files.put`; alone where a file has an object and no row. */
  put(row: ObjectRow): Promise<void>
  get(oid: bigint): Promise<ObjectRow | undefined>
  /** The object of an inode, whether it has a row or not. */
  objectOf(id: InodeId): Promise<bigint | undefined>
  /** Objects that were made for this file CID; their inode may have other content by now. */
  byCid(cid: CID): Promise<ObjectRow[]>
  /** Forgets the object. Its leaves are dropped on their own: `leaves.drop`. */
  delete(oid: bigint): Promise<void>
  /** All objects, in the order of their numbers. */
  entries(): AsyncIterable<ObjectRow>
}

/** Numbers reserved with one synced write; a kill wastes at most so many. */
const RESERVE = 1024n
const RESERVED_KEY = new Uint8Array(Buffer.from('reserved-oid'))

const tablesOf = (level: Level) => ({
  objects: level.table('object'),
  ofInode: level.table('object-of'),
  ofCid: level.table('object-cid'),
  marks: level.table('mark'),
})

/** The writes that make an object known; part of the batch that writes its file's row. */
export async function objectOperations(level: Level, row: ObjectRow): Promise<Operation[]> {
  const { objects, ofInode, ofCid } = tablesOf(level)
  const bytes = await objects.get(u64Key(row.oid))
  const old = bytes === undefined ? undefined : decodeObjectRow(row.oid, bytes)
  const stale =
    old === undefined || old.cid.equals(row.cid) ? [] : [ofCid.del(cidKey(old.cid, row.oid))]
  return [
    ...stale,
    objects.put(u64Key(row.oid), encodeObjectRow(row)),
    ofInode.put(inodeIdKey(row.id), u64Key(row.oid)),
    ofCid.put(cidKey(row.cid, row.oid), new Uint8Array()),
  ]
}

export function createObjectTable(level: Level): ObjectTable {
  const { objects, ofInode, ofCid, marks } = tablesOf(level)
  // One key, `oid`: numbers are given out one after the other.
  const lock = new KeyedLock()
  let next: bigint | undefined
  let reserved = 0n

  async function reserveFrom(oid: bigint): Promise<void> {
    reserved = oid + RESERVE
    await level.write([marks.put(RESERVED_KEY, u64Key(reserved))], { sync: true })
  }

  async function load(): Promise<bigint> {
    if (next === undefined) {
      const bytes = await marks.get(RESERVED_KEY)
      reserved = bytes === undefined ? 1n : readU64(bytes)
      next = reserved
    }
    return next
  }

  async function get(oid: bigint): Promise<ObjectRow | undefined> {
    const bytes = await objects.get(u64Key(oid))
    return bytes === undefined ? undefined : decodeObjectRow(oid, bytes)
  }

  return {
    nextOid: () =>
      lock.run('oid', async () => {
        const oid = await load()
        if (oid >= reserved) {
          await reserveFrom(oid)
        }
        next = oid + 1n
        return oid
      }),

    raiseOid: (oid) =>
      lock.run('oid', async () => {
        if ((await load()) <= oid) {
          await reserveFrom(oid + 1n)
          next = oid + 1n
        }
      }),

    put: async (row) => level.write(await objectOperations(level, row)),

    get,

    async objectOf(id) {
      const bytes = await ofInode.get(inodeIdKey(id))
      return bytes === undefined ? undefined : readU64(bytes)
    },

    async byCid(cid) {
      const found: ObjectRow[] = []
      const range = { gte: cidKey(cid, 0n), lte: cidKey(cid, 0xffff_ffff_ffff_ffffn) }
      for await (const [key] of ofCid.entries(range)) {
        const row = await get(readU64(key.subarray(key.length - 8)))
        // Two writers of one object could leave an older CID in the index; the row has the last.
        if (row?.cid.equals(cid)) {
          found.push(row)
        }
      }
      return found
    },

    async delete(oid) {
      const row = await get(oid)
      if (row === undefined) {
        return
      }
      const operations = [objects.del(u64Key(oid)), ofCid.del(cidKey(row.cid, oid))]
      const current = await ofInode.get(inodeIdKey(row.id))
      if (current !== undefined && readU64(current) === oid) {
        operations.push(ofInode.del(inodeIdKey(row.id)))
      }
      await level.write(operations)
    },

    async *entries() {
      for await (const [key, bytes] of objects.entries()) {
        yield decodeObjectRow(readU64(key), bytes)
      }
    },
  }
}

function cidKey(cid: CID, oid: bigint): Uint8Array {
  return new Uint8Array(Buffer.concat([cid.bytes, u64Key(oid)]))
}

function readU64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0)
}
