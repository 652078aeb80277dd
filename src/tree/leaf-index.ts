import { KeyedLock, reached } from '../base/index.ts'
import type { Bytes, Level, Operation, Table } from './level.ts'
import { u64Key } from './rows.ts'

/** A block of a settled file: where the bytes of this SHA-256 lie in it. */
export interface Leaf {
  /** SHA-256, 32 bytes. */
  digest: Uint8Array
  offset: number
  length: number
}

/** One place that holds the bytes of a digest. */
export interface LeafPlace {
  oid: bigint
  offset: number
  length: number
}

/** Maps a digest to every place that holds its bytes. */
export interface LeafIndex {
  /** Makes these the leaves of the object; what it had before is dropped. */
  put(oid: bigint, leaves: Iterable<Leaf>): Promise<void>
  /** The places of a digest, at most 64: one good one is enough, and all of them are checked. */
  find(digest: Uint8Array): Promise<LeafPlace[]>
  /** The leaves of an object as they are known. */
  of(oid: bigint): AsyncIterable<{ digest: Uint8Array; offset: number }>
  /** Forgets exactly the places in this object. */
  drop(oid: bigint): Promise<void>
}

const DIGEST_BYTES = 32
/** Leaves written in one atomic batch: some 100 kB, so that a large file costs little memory. */
const BATCH_LEAVES = 2048
/** A block of zeros may lie in a million places. */
const MAX_PLACES = 64

/**
 * Two tables that are always written together: digest, oid, offset -> length, and oid, offset ->
 * digest, so that an object's places are found without reading the whole index. A crash in the
 * middle leaves a prefix of an object's leaves in both, which `drop` removes.
 */
export function createLeafIndex(level: Level): LeafIndex {
  const places = level.table('leaf')
  const digests = level.table('leaf-of')
  // Two puts of one object must not mix; different objects never meet.
  const lock = new KeyedLock()

  async function dropPlaces(oid: bigint): Promise<void> {
    let batch: Operation[] = []
    for await (const [key, digest] of digests.entries(rangeOf(oid))) {
      batch.push(digests.del(key), places.del(placeKey(digest, key)))
      if (batch.length >= 2 * BATCH_LEAVES) {
        await level.write(batch)
        batch = []
      }
    }
    await level.write(batch)
  }

  async function putPlaces(oid: bigint, leaves: Iterable<Leaf>): Promise<void> {
    let batch: Operation[] = []
    for (const leaf of leaves) {
      batch.push(...placeOperations(places, digests, oid, leaf))
      if (batch.length >= 2 * BATCH_LEAVES) {
        await level.write(batch)
        reached('leaves.batch')
        batch = []
      }
    }
    await level.write(batch)
    reached('leaves.batch')
  }

  return {
    put(oid, leaves) {
      return lock.run(oid.toString(), async () => {
        await dropPlaces(oid)
        await putPlaces(oid, leaves)
      })
    },

    async find(digest) {
      if (digest.length !== DIGEST_BYTES) {
        return []
      }
      const end = concat(digest, u64Key(0xffff_ffff_ffff_ffffn), u64Key(0xffff_ffff_ffff_ffffn))
      const found: LeafPlace[] = []
      for await (const [key, value] of places.entries({
        gte: digest,
        lte: end,
        limit: MAX_PLACES,
      })) {
        found.push(decodePlace(key, value))
      }
      return found
    },

    async *of(oid) {
      for await (const [key, digest] of digests.entries(rangeOf(oid))) {
        const offset = new DataView(key.buffer, key.byteOffset, 16).getBigUint64(8)
        yield { digest, offset: Number(offset) }
      }
    },

    drop(oid) {
      return lock.run(oid.toString(), () => dropPlaces(oid))
    },
  }
}

function placeOperations(places: Table, digests: Table, oid: bigint, leaf: Leaf): Operation[] {
  if (leaf.digest.length !== DIGEST_BYTES) {
    throw new TypeError(`a leaf's digest has ${leaf.digest.length} bytes, not ${DIGEST_BYTES}`)
  }
  const place = concat(u64Key(oid), u64Key(BigInt(leaf.offset)))
  return [
    places.put(placeKey(leaf.digest, place), u64Key(BigInt(leaf.length))),
    digests.put(place, leaf.digest),
  ]
}

function rangeOf(oid: bigint): { gte: Bytes; lt: Bytes } {
  return { gte: u64Key(oid), lt: u64Key(oid + 1n) }
}

function placeKey(digest: Uint8Array, place: Uint8Array): Uint8Array {
  return concat(digest, place)
}

function decodePlace(key: Uint8Array, value: Uint8Array): LeafPlace {
  const view = new DataView(key.buffer, key.byteOffset + DIGEST_BYTES, 16)
  const length = new DataView(value.buffer, value.byteOffset, 8).getBigUint64(0)
  return {
    oid: view.getBigUint64(0),
    offset: Number(view.getBigUint64(8)),
    length: Number(length),
  }
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}
