import { unlinkSync } from 'node:fs'
import { stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FsBlockstore } from 'blockstore-fs'
import { NextToLast } from 'blockstore-fs/sharding'
import { NotFoundError } from 'interface-store'
import type { CID } from 'multiformats/cid'
import {
  forEachConcurrently,
  fsyncDirectory,
  isErrno,
  reached,
  syncFileSystemOf,
} from '../base/index.ts'
import {
  type BlockInput,
  collectBlock,
  fsyncIfThere,
  holds,
  readBlock,
  readFolder,
  TEMPORARY,
  writeBlock,
} from './block-file.ts'
import { cidOfNode, matchesCid, verifiableHash } from './verify.ts'

/** A block and its CID, as `putDurable` takes them. */
export interface NodePair {
  cid: CID
  bytes: Uint8Array
}

interface Abortable {
  signal?: AbortSignal | undefined
}

/** The layout that blockstore-fs has by default: folders named by two characters of the hash. */
const LAYOUT = new NextToLast()
/** From so many files on one syncfs is cheaper than an fsync each. */
const SYNCFS_FROM = 256
const FSYNC_CONCURRENCY = 16
/** Blocks known to be durable, so that an unchanged directory costs no fsync at each commit. */
const MAX_KNOWN_DURABLE = 200_000

/**
 * The dag-pb and dag-cbor blocks, in the layout of blockstore-fs. What differs from it: a block
 * is read with one call and verified, written by temporary file and rename, and `flush` makes
 * what was put survive a power cut.
 */
export class NodeStore extends FsBlockstore {
  /** Files that were written, or found, since the last flush; name -> path. */
  #pending = new Map<string, string>()
  /** What the running flush has in hand. */
  #inHand = new Map<string, string>()
  readonly #durable = new Set<string>()
  /** What was put since somebody holds new blocks; no sweep takes it. */
  readonly #held = new Set<string>()
  #holds = 0
  #flushing: Promise<void> = Promise.resolve()

  /** Stores a block. EFBIG over 2 MiB; durable only after `flush`. */
  override async put(cid: CID, input: BlockInput, options?: Abortable): Promise<CID> {
    const bytes = await collectBlock(input)
    options?.signal?.throwIfAborted()
    const { key, path } = placeOf(this.path, cid)
    if (this.#holds > 0) {
      this.#held.add(key)
    }
    if (this.#durable.has(key) || this.#pending.has(key)) {
      return cid
    }
    if (!(await holds(path, bytes))) {
      await writeBlock(path, bytes)
    }
    this.#pending.set(key, path)
    return cid
  }

  override async *get(cid: CID, options?: Abortable): AsyncGenerator<Uint8Array> {
    yield await this.getBytes(cid, options?.signal)
  }

  /**
   * The block. Bytes that do not match the CID are as good as none: they are removed, so that the
   * block can be stored again.
   *
   * @throws NotFoundError where there is no good block
   */
  async getBytes(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted()
    const { key, path } = placeOf(this.path, cid)
    const bytes = await readBlock(path)
    if (bytes === undefined) {
      // Somebody took it away: it can be stored again.
      this.#durable.delete(key)
      throw new NotFoundError(`block ${cid} is not in the node store`)
    }
    if (!matchesCid(cid, bytes)) {
      await this.delete(cid)
      throw new NotFoundError(`block ${cid} in the node store was damaged`)
    }
    return bytes
  }

  override async has(cid: CID): Promise<boolean> {
    try {
      return (await stat(placeOf(this.path, cid).path)).isFile()
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return false
      }
      throw error
    }
  }

  override async delete(cid: CID): Promise<void> {
    const { key, path } = placeOf(this.path, cid)
    this.#durable.delete(key)
    this.#pending.delete(key)
    this.#inHand.delete(key)
    try {
      await unlink(path)
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        throw error
      }
    }
  }

  /**
   * Every block. The files know only the hash; the codec is read off the first byte, which tells
   * dag-cbor maps and dag-pb apart.
   */
  override async *getAll(options?: Abortable) {
    for await (const { multihash, path } of this.files()) {
      options?.signal?.throwIfAborted()
      const bytes = await readBlock(path)
      const cid = bytes === undefined ? undefined : cidOfNode(multihash, bytes)
      if (cid !== undefined && bytes !== undefined) {
        yield {
          cid,
          bytes: (async function* () {
            yield bytes
          })(),
        }
      }
    }
  }

  /** All files of blocks, unread; left-over temporary files are not among them. */
  async *files(): AsyncGenerator<{ multihash: Uint8Array; path: string }> {
    for (const folder of await readFolder(this.path)) {
      for (const name of await readFolder(join(this.path, folder))) {
        if (!name.endsWith(TEMPORARY)) {
          const { multihash } = LAYOUT.decode(name)
          yield { multihash: multihash.bytes, path: join(this.path, folder, name) }
        }
      }
    }
  }

  /** Blocks may have been taken away: what is put from now on is looked for on the disk again. */
  doubt(): void {
    this.#durable.clear()
  }

  /**
   * Until the hold ends no sweep removes a block that is put from now on: whoever makes nodes holds
   * them until a row or a root names them.
   */
  hold(): { end(): void } {
    this.#holds += 1
    let ended = false
    return {
      end: () => {
        this.#holds -= ended ? 0 : 1
        ended = true
        if (this.#holds === 0) {
          this.#held.clear()
        }
      },
    }
  }

  /**
   * Removes every block that is not needed and not held. A kill leaves fewer removed.
   *
   * @param isNeeded asked with the multihash
   */
  async sweep(
    isNeeded: (multihash: Uint8Array) => boolean,
    signal?: AbortSignal,
  ): Promise<{ blocks: number; bytes: number }> {
    const removed = { blocks: 0, bytes: 0 }
    for await (const { multihash, path } of this.files()) {
      signal?.throwIfAborted()
      const key = basename(path)
      if (!isNeeded(multihash)) {
        const size = await sizeIfThere(path)
        // In one step with the question: what is put after it is written anew.
        if (size !== undefined && !this.#held.has(key)) {
          this.#durable.delete(key)
          this.#pending.delete(key)
          unlinkSync(path)
          removed.blocks += 1
          removed.bytes += size
        }
      }
    }
    return removed
  }

  /** Puts all of them and makes them durable. */
  async putDurable(pairs: Iterable<NodePair> | AsyncIterable<NodePair>): Promise<void> {
    await forEachConcurrently(pairs, FSYNC_CONCURRENCY, async ({ cid, bytes }) => {
      await this.put(cid, bytes)
    })
    await this.flush()
  }

  /**
   * Everything that was put before this call survives a power cut when it returns. What could
   * not be made durable stays pending, and the error is thrown.
   */
  flush(): Promise<void> {
    // One after the other: a flush must not return while an earlier one has its blocks in hand.
    const done = this.#flushing.then(() => this.#flushPending())
    this.#flushing = done.catch(() => undefined)
    return done
  }

  override async close(): Promise<void> {
    await this.flush()
  }

  async #flushPending(): Promise<void> {
    const batch = this.#pending
    this.#pending = new Map()
    this.#inHand = batch
    try {
      await this.#makeDurable([...batch.values()])
      reached('nodes.flushed')
    } catch (error) {
      this.#pending = new Map([...batch, ...this.#pending])
      throw error
    }
    if (this.#durable.size + batch.size > MAX_KNOWN_DURABLE) {
      this.#durable.clear()
    }
    for (const key of batch.keys()) {
      this.#durable.add(key)
    }
  }

  async #makeDurable(paths: string[]): Promise<void> {
    if (paths.length === 0) {
      return
    }
    if (paths.length >= SYNCFS_FROM) {
      await syncFileSystemOf(this.path)
      return
    }
    await forEachConcurrently(paths, FSYNC_CONCURRENCY, fsyncIfThere)
    const folders = new Set(paths.map((path) => dirname(path)))
    await forEachConcurrently(folders, FSYNC_CONCURRENCY, fsyncDirectory)
    await fsyncDirectory(this.path)
  }
}

/** The node store in this folder (`StorePaths.nodes`). */
export function createNodeStore(dir: string): NodeStore {
  return new NodeStore(dir)
}

async function sizeIfThere(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

function placeOf(root: string, cid: CID): { key: string; path: string } {
  verifiableHash(cid)
  const { dir, file } = LAYOUT.encode(cid)
  return { key: file, path: join(root, dir, file) }
}
