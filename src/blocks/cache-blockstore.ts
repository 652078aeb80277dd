import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { BaseBlockstore } from 'blockstore-core'
import { NotFoundError } from 'interface-store'
import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { type BlockInput, collectBlock, MAX_BLOCK_BYTES } from './block-file.ts'
import type { NodeStore } from './node-store.ts'
import { identityBytes, matchesCid } from './verify.ts'

/** Where the bytes of a digest may lie. */
export interface LeafLocator {
  find(digest: Uint8Array): Promise<{ oid: bigint; offset: number; length: number }[]>
}

export interface CacheBlockstoreComponents {
  nodes: NodeStore
  leaves: LeafLocator
  /** `StorePaths.objects`. */
  objectsDir: string
}

interface Abortable {
  signal?: AbortSignal | undefined
}

/** The block of an empty file: it lies nowhere and everywhere. */
const EMPTY = new Uint8Array()

/**
 * The store as a Blockstore, for Helia and for everybody who reads blocks: nodes come from the
 * node store, leaves straight out of the settled files. Every leaf is hashed when it is read; a
 * place that has other bytes by now is passed over, and a leaf with no good place is missing.
 * What others put goes to the node store, since a block has no offset. `getAll` and `delete`
 * know only what is in the node store: leaves belong to their files.
 */
export class CacheBlockstore extends BaseBlockstore {
  readonly #nodes: NodeStore
  readonly #leaves: LeafLocator
  readonly #objectsDir: string

  constructor(components: CacheBlockstoreComponents) {
    super()
    this.#nodes = components.nodes
    this.#leaves = components.leaves
    this.#objectsDir = components.objectsDir
  }

  override async *get(cid: CID, options?: Abortable): AsyncGenerator<Uint8Array> {
    yield await this.getBytes(cid, options?.signal)
  }

  /**
   * The block, verified.
   *
   * @throws NotFoundError where no place has it; ModelcacheError `weak-hash` for a CID that
   *   cannot be verified
   */
  async getBytes(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted()
    const own = identityBytes(cid) ?? (cid.code === raw.code ? await this.#leaf(cid) : undefined)
    return own ?? this.#nodes.getBytes(cid, signal)
  }

  /** True when the block can be read now: a leaf is read and hashed to say so. */
  override async has(cid: CID): Promise<boolean> {
    if (identityBytes(cid) !== undefined) {
      return true
    }
    if (cid.code === raw.code && (await this.#leaf(cid)) !== undefined) {
      return true
    }
    return this.#nodes.has(cid)
  }

  /** Stores a block that came with its CID; bytes that do not match are refused. */
  override async put(cid: CID, input: BlockInput, options?: Abortable): Promise<CID> {
    const bytes = await collectBlock(input)
    if (!matchesCid(cid, bytes)) {
      throw new ModelcacheError(`store block ${cid}: its bytes have another hash`, {
        code: 'hash-mismatch',
        errno: 'EIO',
      })
    }
    return this.#nodes.put(cid, bytes, options)
  }

  override async delete(cid: CID): Promise<void> {
    await this.#nodes.delete(cid)
  }

  override async *getAll(options?: Abortable) {
    yield* this.#nodes.getAll(options)
  }

  async #leaf(cid: CID): Promise<Uint8Array | undefined> {
    if (matchesCid(cid, EMPTY)) {
      return EMPTY
    }
    for (const place of await this.#leaves.find(cid.multihash.digest)) {
      const bytes = await readPlace(join(this.#objectsDir, place.oid.toString()), place)
      if (bytes !== undefined && matchesCid(cid, bytes)) {
        return bytes
      }
    }
    return undefined
  }
}

/** The store's blockstore. */
export function createCacheBlockstore(components: CacheBlockstoreComponents): CacheBlockstore {
  return new CacheBlockstore(components)
}

export { NotFoundError }

/** The bytes of a place; undefined where the object is gone or shorter by now. */
async function readPlace(
  path: string,
  place: { offset: number; length: number },
): Promise<Uint8Array | undefined> {
  if (place.length > MAX_BLOCK_BYTES) {
    return undefined
  }
  const handle = await openObject(path)
  if (handle === undefined) {
    return undefined
  }
  try {
    const bytes = new Uint8Array(place.length)
    let filled = 0
    while (filled < place.length) {
      const { bytesRead } = await handle.read(
        bytes,
        filled,
        place.length - filled,
        place.offset + filled,
      )
      if (bytesRead === 0) {
        return undefined
      }
      filled += bytesRead
    }
    return bytes
  } finally {
    await handle.close()
  }
}

async function openObject(path: string) {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}
