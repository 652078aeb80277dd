import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type BytesReader, createDecoder } from '@ipld/car/decoder'
import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { ModelcacheError, messageOf } from '../base/index.ts'
import { MAX_BLOCK_BYTES, matchesCid, type NodeStore, verifiableHash } from '../blocks/index.ts'

/** Where a block lies in the file. */
interface Place {
  offset: number
  length: number
}

/** A header with its roots and a block's head are far smaller. */
const MAX_READ_BYTES = 1024 * 1024
/** Read ahead: heads of small blocks lie close to each other. */
const WINDOW_BYTES = 64 * 1024

/**
 * A CAR file (version 1 or 2) as a source of blocks: where each lies is known, and each is verified
 * when it is read. The file must stay where it is and as it is while something is read from it.
 */
export class CarFile {
  readonly path: string
  readonly roots: readonly CID[]
  readonly #handle: FileHandle
  readonly #places: Map<string, Place>
  /** All but the leaves. */
  readonly #nodes: readonly CID[]

  private constructor(
    path: string,
    handle: FileHandle,
    index: { roots: readonly CID[]; places: Map<string, Place>; nodes: readonly CID[] },
  ) {
    this.path = path
    this.roots = index.roots
    this.#handle = handle
    this.#places = index.places
    this.#nodes = index.nodes
  }

  /**
   * Reads the heads of all blocks.
   *
   * @throws ModelcacheError `bad-car`, exit code 1, for a file that cannot be read, is cut off, or
   *   is no CAR file
   */
  static async open(path: string): Promise<CarFile> {
    let handle: FileHandle
    try {
      handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    } catch (cause) {
      throw badCar(path, messageOf(cause), cause)
    }
    try {
      return new CarFile(path, handle, await readIndex(path, handle))
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /**
   * The one root of the file.
   *
   * @throws ModelcacheError `bad-car` where it has none or several
   */
  root(): CID {
    const [root, ...others] = this.roots
    if (root === undefined || others.length > 0) {
      throw badCar(this.path, `it has ${this.roots.length} roots instead of one`)
    }
    return root
  }

  /**
   * The block, verified; undefined where the file has none.
   *
   * @throws ModelcacheError `bad-car` for bytes that are not what the CID says
   */
  async get(cid: CID): Promise<Uint8Array | undefined> {
    const place = this.#places.get(keyOf(cid))
    if (place === undefined) {
      return undefined
    }
    const bytes = await readExactly(this.#handle, place.offset, place.length)
    if (bytes === undefined || !matchesCid(cid, bytes)) {
      throw badCar(this.path, `block ${cid} is damaged`)
    }
    return bytes
  }

  /** Takes all nodes over into the store, durably; leaves stay where they are. */
  async copyNodes(nodes: Pick<NodeStore, 'putDurable'>): Promise<void> {
    const pairs = async function* (this: CarFile) {
      for (const cid of this.#nodes) {
        const bytes = await this.get(cid)
        if (bytes !== undefined) {
          yield { cid, bytes }
        }
      }
    }
    await nodes.putDurable(pairs.call(this))
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

async function readIndex(path: string, handle: FileHandle) {
  const stats = await handle.stat()
  if (!stats.isFile()) {
    throw badCar(path, 'it is no file')
  }
  const reader = new FileReader(handle)
  const places = new Map<string, Place>()
  const nodes: CID[] = []
  try {
    const decoder = createDecoder(reader)
    const { roots } = await decoder.header()
    for await (const { cid, blockOffset, blockLength } of decoder.blocksIndex()) {
      if (
        blockLength < 0 ||
        blockLength > MAX_BLOCK_BYTES ||
        blockOffset + blockLength > stats.size
      ) {
        throw new RangeError(`block ${cid} is cut off, or larger than 2 MiB`)
      }
      verifiableHash(cid)
      const key = keyOf(cid)
      if (!places.has(key) && cid.code !== raw.code) {
        nodes.push(cid)
      }
      places.set(key, { offset: blockOffset, length: blockLength })
    }
    return { roots, places, nodes }
  } catch (cause) {
    throw badCar(path, messageOf(cause), cause)
  }
}

/** Lets the decoder skip the blocks: only their heads are read. */
class FileReader implements BytesReader {
  readonly #handle: FileHandle
  #window: Uint8Array = new Uint8Array()
  #windowAt = 0
  #pos = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  get pos(): number {
    return this.#pos
  }

  async upTo(length: number): Promise<Uint8Array> {
    if (length > MAX_READ_BYTES) {
      throw new RangeError(`a head of ${length} bytes`)
    }
    const from = this.#pos - this.#windowAt
    if (from < 0 || from + length > this.#window.length) {
      const bytes = new Uint8Array(Math.max(length, WINDOW_BYTES))
      const { bytesRead } = await this.#handle.read(bytes, 0, bytes.length, this.#pos)
      this.#window = bytes.subarray(0, bytesRead)
      this.#windowAt = this.#pos
    }
    const start = this.#pos - this.#windowAt
    return this.#window.subarray(start, start + length)
  }

  async exactly(length: number, seek = false): Promise<Uint8Array> {
    const bytes = await this.upTo(length)
    if (bytes.length < length) {
      throw new RangeError('the file ends too early')
    }
    if (seek) {
      this.#pos += length
    }
    return bytes
  }

  seek(length: number): void {
    this.#pos += length
  }
}

async function readExactly(
  handle: FileHandle,
  offset: number,
  length: number,
): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length)
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled)
    if (bytesRead === 0) {
      return undefined
    }
    filled += bytesRead
  }
  return bytes
}

function keyOf(cid: CID): string {
  return Buffer.from(cid.multihash.bytes).toString('latin1')
}

function badCar(path: string, why: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(
    `${path}: it is no CAR file that can be opened: ${why}; make it again with \`modelcache export\``,
    { code: 'bad-car', errno: 'EIO', exitCode: 1, cause },
  )
}
