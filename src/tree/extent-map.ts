import { open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import {
  fsyncDirectory,
  isErrno,
  ModelcacheError,
  type Range,
  writeFileDurable,
} from '../base/index.ts'
import { type InodeId, inodeKey } from './inode.ts'

/** A placeholder's bytes come and are recorded in pieces of this size: one leaf. */
export const EXTENT_BYTES = 1024 * 1024

const MAGIC = 0x3178636d // `mcx1`, little-endian
const HEADER_BYTES = 16
/** 16 TiB, the largest file of ext4: a size that a stranger claims must not cost memory. */
const MAX_EXTENTS = 2 ** 24

/**
 * Which extents of a placeholder are present: verified, written and fdatasynced. The file format
 * is in docs/store.md; the keeper reads the same file while we write it, one bit at a time from
 * 0 to 1. Losing bits costs a fetch; a bit that is set too early would show zeros, so
 * `markDurable` is called after the fdatasync of the data and never before.
 */
export class ExtentMap {
  readonly sizeBytes: number
  /** Number of extents; the last one may be shorter. */
  readonly count: number
  readonly #path: string
  readonly #bits: Uint8Array
  #present: number
  #exists: boolean
  #removed = false
  /** Bytes of bits that are not in the file yet: a write that failed is made up for. */
  readonly #unsaved = new Set<number>()
  /** Writes follow one another, so that no older byte of bits overtakes a newer one. */
  #writes: Promise<void> = Promise.resolve()

  private constructor(path: string, sizeBytes: number, bits: Uint8Array, exists: boolean) {
    this.sizeBytes = sizeBytes
    this.count = extentCount(sizeBytes)
    this.#path = path
    this.#bits = bits
    this.#exists = exists
    this.#present = countBits(bits)
  }

  /**
   * The map of a placeholder of this size. A file that is missing, torn, or of another size means
   * that nothing is present. EFBIG for a size over 16 TiB.
   */
  static async open(extentsDir: string, id: InodeId, sizeBytes: number): Promise<ExtentMap> {
    const path = join(extentsDir, inodeKey(id))
    const count = extentCount(sizeBytes)
    if (count > MAX_EXTENTS) {
      throw new ModelcacheError(`open extent map ${path}: ${sizeBytes} bytes are too many`, {
        code: 'EFBIG',
        errno: 'EFBIG',
      })
    }
    const bits = await readBits(path, count)
    const none = new Uint8Array(Math.ceil(count / 8))
    return new ExtentMap(path, sizeBytes, bits ?? none, bits !== undefined)
  }

  /** How many extents are present. */
  get present(): number {
    return this.#present
  }

  /** True when every byte of the file is present. */
  get complete(): boolean {
    return this.#present === this.count
  }

  /** True when the extent of this index is present. */
  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  /**
   * The bytes that have to be fetched before the range can be read: whole extents, joined where
   * they touch, cut at the end of the file.
   */
  missing(range: Range): Range[] {
    const missing: Range[] = []
    const end = Math.min(range.end, this.sizeBytes)
    for (let index = Math.floor(range.start / EXTENT_BYTES); index * EXTENT_BYTES < end; index++) {
      if (this.has(index)) {
        continue
      }
      const start = index * EXTENT_BYTES
      const stop = Math.min(start + EXTENT_BYTES, this.sizeBytes)
      const last = missing.at(-1)
      if (last?.end === start) {
        last.end = stop
      } else {
        missing.push({ start, end: stop })
      }
    }
    return end > range.start ? missing : []
  }

  /** Records extents whose bytes are in the file and durable. */
  markDurable(indexes: Iterable<number>): Promise<void> {
    for (const index of indexes) {
      if (!Number.isInteger(index) || index < 0 || index >= this.count) {
        throw new ModelcacheError(`mark extent ${index} of ${this.count}: there is no such`, {
          code: 'EINVAL',
          errno: 'EINVAL',
        })
      }
      if (!this.has(index)) {
        this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7))
        this.#present += 1
        this.#unsaved.add(index >> 3)
      }
    }
    return this.#enqueue(() => this.#write())
  }

  /** Nothing is present any more, durably. Idempotent; later marks are not recorded. */
  remove(): Promise<void> {
    return this.#enqueue(async () => {
      this.#removed = true
      this.#bits.fill(0)
      this.#present = 0
      await removeExtentMapFile(this.#path)
    })
  }

  #enqueue(job: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(job)
    // The next write does not fail for this one; whoever asked for this one is told.
    this.#writes = done.catch(() => undefined)
    return done
  }

  async #write(): Promise<void> {
    const byteIndexes = [...this.#unsaved]
    if (this.#removed || byteIndexes.length === 0) {
      return
    }
    if (this.#exists) {
      await this.#writeInPlace(byteIndexes)
    } else {
      await writeFileDurable(this.#path, encodeMap(this.count, this.#bits), 0o600)
      this.#exists = true
    }
    for (const index of byteIndexes) {
      this.#unsaved.delete(index)
    }
  }

  async #writeInPlace(byteIndexes: number[]): Promise<void> {
    const handle = await open(this.#path, 'r+')
    try {
      for (const index of byteIndexes) {
        await handle.write(this.#bits, index, 1, HEADER_BYTES + index)
      }
    } finally {
      await handle.close()
    }
  }
}

/** Removes the map of a file that is no placeholder any more; none is not an error. */
export function removeExtentMap(extentsDir: string, id: InodeId): Promise<void> {
  return removeExtentMapFile(join(extentsDir, inodeKey(id)))
}

async function removeExtentMapFile(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return
    }
    throw error
  }
  await fsyncDirectory(join(path, '..'))
}

function extentCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / EXTENT_BYTES)
}

function encodeMap(count: number, bits: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + bits.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint32(4, EXTENT_BYTES, true)
  view.setBigUint64(8, BigInt(count), true)
  bytes.set(bits, HEADER_BYTES)
  return bytes
}

async function readBits(path: string, count: number): Promise<Uint8Array | undefined> {
  const bytes = await readIfExists(path)
  return bytes === undefined ? undefined : decodeMap(bytes, count)
}

/** The bits of a map of so many extents; undefined for what is no such map. */
export function decodeMap(bytes: Uint8Array, count: number): Uint8Array | undefined {
  if (bytes.length !== HEADER_BYTES + Math.ceil(count / 8)) {
    return undefined
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const sound =
    view.getUint32(0, true) === MAGIC &&
    view.getUint32(4, true) === EXTENT_BYTES &&
    view.getBigUint64(8, true) === BigInt(count)
  if (!sound) {
    return undefined
  }
  const bits = new Uint8Array(bytes.subarray(HEADER_BYTES))
  clearBeyond(bits, count)
  return bits
}

/** Bits past the last extent mean nothing, and must not be counted. */
function clearBeyond(bits: Uint8Array, count: number): void {
  if (count % 8 !== 0) {
    bits[bits.length - 1] = (bits.at(-1) ?? 0) & ((1 << (count % 8)) - 1)
  }
}

async function readIfExists(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

function countBits(bits: Uint8Array): number {
  let count = 0
  for (let byte of bits) {
    for (; byte !== 0; byte &= byte - 1) {
      count += 1
    }
  }
  return count
}
