import { ModelcacheError } from '../../base/index.ts'
import type { OperationName } from './binding.ts'
import { fillDirectory, peek, peekString, poke } from './memory.ts'
import { fromBytes } from './native-path.ts'
import type { Caching } from './page-cache.ts'

/**
 * Where fuse-native 2.2.6 keeps a request (fuse-native.c, fuse_thread_locals_t) on x86-64, the one
 * machine that it has an addon for. `LOCALS_BYTES` is compared with what the addon says.
 */
const AT = {
  path: 24,
  dest: 32,
  linkname: 40,
  info: 48,
  buffer: 56,
  offset: 64,
  length: 72,
  mode: 80,
  uid: 96,
  gid: 100,
  atime: 104,
  mtime: 112,
  name: 128,
  size: 152,
  flags: 164,
  stat: 168,
  statvfs: 176,
  filler: 184,
} as const
export const LOCALS_BYTES = 360

/** fuse_common.h, struct fuse_file_info of libfuse 2. */
const INFO_BYTES = 40
const INFO_FLAGS = 0
const INFO_WRITEPAGE = 16
/** Bits of an `unsigned int`: direct_io, keep_cache. */
const INFO_BITS = 20
const DIRECT_IO = 1
const KEEP_CACHE = 2
const INFO_HANDLE = 24

/** Which of the addon's values is a buffer. */
const PAYLOAD_AT: { readonly [name in OperationName]?: number } = {
  read: 2,
  write: 2,
  setxattr: 2,
  getxattr: 2,
  listxattr: 1,
}

/** Which pointers are of variables of libfuse's functions (fuse.c, fuse_lib_…). */
const ON_STACK: { readonly [name in OperationName]?: number } = {
  getattr: AT.stat,
  open: AT.info,
  read: AT.info,
  write: AT.info,
}

/** A character that stands for bytes that are not UTF-8: then the bytes themselves are looked at. */
const REPLACED = '\ufffd'

/** What a file has in a `struct stat`, and libfuse passes on. */
export interface StatAnswer {
  ino: bigint
  links: bigint
  /** With the type. */
  mode: number
  uid: number
  gid: number
  rdev: bigint
  sizeBytes: bigint
  /** Of 512 bytes. */
  blocks: bigint
  atimeNs: bigint
  mtimeNs: bigint
  ctimeNs: bigint
}

/** What statfs says of the disk; in units of `unitBytes`. */
export interface SpaceAnswer {
  unitBytes: bigint
  blocks: bigint
  freeBlocks: bigint
  availableBlocks: bigint
  files: bigint
  freeFiles: bigint
}

/** `st_blksize`; clients size their buffers by it and expect a power of two. */
export const BLOCK_BYTES = 4096
/** `NAME_MAX` of the file systems that a store can be on; clients compare with it. */
const NAME_MAX = 255n
const NS_PER_SECOND = 1_000_000_000n

/** One question of libfuse. Its thread waits, and its memory stays, until it is answered. */
export class Request {
  readonly name: OperationName
  /** The thread's memory in the addon. Two requests of one thread follow each other. */
  readonly thread: Buffer
  readonly #values: readonly unknown[]

  constructor(name: OperationName, thread: Buffer, values: readonly unknown[]) {
    this.name = name
    this.thread = thread
    this.#values = values
  }

  /** Of `link` the file that there is; of `symlink` the target, see `target`. */
  get path(): string {
    return this.#path(this.#values[0], AT.path)
  }

  /** Of `rename`, `link` and `symlink`: the new name. */
  get dest(): string {
    return this.#path(this.#values[1], AT.dest)
  }

  /** Of `symlink`. */
  get target(): Buffer {
    return peekString(this.#address(AT.path))
  }

  get mode(): number {
    return this.thread.readUInt32LE(AT.mode)
  }

  get uid(): number {
    return this.thread.readUInt32LE(AT.uid)
  }

  get gid(): number {
    return this.thread.readUInt32LE(AT.gid)
  }

  /**
   * Of `utimens`, cut to milliseconds. The addon hands the atime over twice and the mtime never, so
   * both are read here.
   */
  get atimeMs(): bigint {
    return this.thread.readBigInt64LE(AT.atime)
  }

  get mtimeMs(): bigint {
    return this.thread.readBigInt64LE(AT.mtime)
  }

  /** Of `getattr` and `fgetattr`: where libfuse wants the answer. */
  get statAddress(): bigint {
    return this.#address(AT.stat)
  }

  /**
   * Of `read`, `write`, `truncate`.
   *
   * @throws EFBIG beyond what a number can say, which no file system has
   */
  get offset(): number {
    const offset = Number(this.thread.readBigInt64LE(AT.offset))
    if (!Number.isSafeInteger(offset)) {
      throw new ModelcacheError(`${this.name} at ${offset}`, { code: 'EFBIG', errno: 'EFBIG' })
    }
    return offset
  }

  get length(): number {
    return Number(this.thread.readBigUInt64LE(AT.length))
  }

  /** Of `fsync`, `fsyncdir`: only the data. */
  get dataOnly(): boolean {
    return this.mode !== 0
  }

  /** Flags of `open` and `create`. */
  get openFlags(): number {
    return this.#info().readInt32LE(INFO_FLAGS)
  }

  /** What `open` or `create` answered with. */
  get handle(): number {
    return Number(this.#info().readBigUInt64LE(INFO_HANDLE))
  }

  /** Of `open` and `create`: what the kernel does with the pages that it has of this name. */
  putCaching(caching: Caching): void {
    const bits = this.#info().readUInt32LE(INFO_BITS) & ~(DIRECT_IO | KEEP_CACHE)
    const wish = { keep: KEEP_CACHE, drop: 0, none: DIRECT_IO }[caching]
    poke(this.#address(AT.info) + BigInt(INFO_BITS), bytesOf(new Uint32Array([bits | wish])))
  }

  /** Of `write`: pages of a mapping, which know their place, and no program's write(2). */
  get isPageWrite(): boolean {
    return (this.#info().readInt32LE(INFO_WRITEPAGE) & 1) !== 0
  }

  get xattrName(): string {
    return fromBytes(peekString(this.#address(AT.name)))
  }

  get xattrFlags(): number {
    return this.thread.readInt32LE(AT.flags)
  }

  /** Of `getxattr` and `listxattr`: room for the value; 0 asks for its length. */
  get room(): number {
    return Number(this.thread.readBigUInt64LE(AT.size))
  }

  /** An address on the stack of the asking thread, where this kind of request has one. */
  get stackAddress(): bigint | undefined {
    const at = ON_STACK[this.name]
    return at === undefined ? undefined : this.#address(at)
  }

  /** Memory of libfuse: what is written, or where to put what is asked for. */
  get payload(): Buffer {
    const payload = this.#values[PAYLOAD_AT[this.name] ?? -1]
    if (!Buffer.isBuffer(payload)) {
      throw new ModelcacheError(`${this.name}: the addon gave no buffer`, { code: 'no-buffer' })
    }
    return payload
  }

  /** Whether the addon made a buffer for this request, which has to be given back. */
  get hasPayload(): boolean {
    return PAYLOAD_AT[this.name] !== undefined
  }

  putStat(stat: StatAnswer): void {
    poke(this.statAddress, statBytes(stat))
  }

  putSpace(space: SpaceAnswer): void {
    const { unitBytes, blocks, freeBlocks, availableBlocks, files, freeFiles } = space
    const words = [BigInt(BLOCK_BYTES), unitBytes, blocks, freeBlocks, availableBlocks]
    const rest = [files, freeFiles, freeFiles, 0n, 0n, NAME_MAX]
    poke(this.#address(AT.statvfs), bytesOf(new BigUint64Array([...words, ...rest])))
  }

  /** Cut where libfuse has no room, as readlink(2) does. */
  putTarget(target: Buffer): void {
    const room = Number(this.thread.readBigUInt64LE(AT.length)) - 1
    poke(this.#address(AT.linkname), Buffer.concat([target.subarray(0, room), Buffer.of(0)]))
  }

  /** @throws ENOMEM where libfuse has no memory for the list */
  putEntries(entries: Iterable<{ name: Uint8Array; ino: bigint; type: number }>): void {
    const filler = this.#address(AT.filler)
    const list = this.#address(AT.buffer)
    const stat = new DataView(new ArrayBuffer(STAT_BYTES))
    const bytes = bytesOf(stat)
    for (const { name, ino, type } of entries) {
      stat.setBigUint64(8, ino, true)
      stat.setUint32(24, type << 12, true)
      if (!fillDirectory(filler, list, name, bytes)) {
        throw new ModelcacheError('readdir: no memory', { code: 'ENOMEM', errno: 'ENOMEM' })
      }
    }
  }

  #path(text: unknown, at: number): string {
    if (typeof text !== 'string') {
      throw new ModelcacheError(`${this.name}: the addon gave no path`, { code: 'no-path' })
    }
    return text.includes(REPLACED)
      ? fromBytes(peekString(this.#address(at)).subarray(1))
      : text.slice(1)
  }

  #info(): Buffer {
    return peek(this.#address(AT.info), INFO_BYTES)
  }

  #address(at: number): bigint {
    return this.thread.readBigUInt64LE(at)
  }
}

/** asm/stat.h, struct stat of x86-64. */
const STAT_BYTES = 144

function statBytes(stat: StatAnswer): Uint8Array {
  const view = new DataView(new ArrayBuffer(STAT_BYTES))
  view.setBigUint64(8, stat.ino, true)
  view.setBigUint64(16, stat.links, true)
  view.setUint32(24, stat.mode, true)
  view.setUint32(28, stat.uid, true)
  view.setUint32(32, stat.gid, true)
  view.setBigUint64(40, stat.rdev, true)
  view.setBigInt64(48, stat.sizeBytes, true)
  view.setBigInt64(56, BigInt(BLOCK_BYTES), true)
  view.setBigInt64(64, stat.blocks, true)
  for (const [at, timeNs] of [
    [72, stat.atimeNs],
    [88, stat.mtimeNs],
    [104, stat.ctimeNs],
  ] as const) {
    const nanoseconds = ((timeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
    view.setBigInt64(at, (timeNs - nanoseconds) / NS_PER_SECOND, true)
    view.setBigInt64(at + 8, nanoseconds, true)
  }
  return bytesOf(view)
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
