/**
 * The libfuse 2.9.9 that fuse-native 2.2.6 brings for x86-64, known to the byte: what is changed in
 * it before it is loaded, and where it keeps what its functions do not tell. Why, and what it would
 * cost to do without, is in docs/decisions/portable-engine.md.
 */
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, readFileSync, writeSync } from 'node:fs'
import koffi from 'koffi'
import { ModelcacheError } from '../../base/index.ts'
import { peek, poke } from './memory.ts'

const SHA256 = '7f99b6229656f7eb81160e9cf52f089435bd281d564ac56fec7fff6f0c57b524'

interface Patch {
  at: number
  /** What is there; nothing else is ever overwritten. */
  old: Buffer
  new: Buffer
}

/**
 * The names under which libfuse keeps files reachable. No program can know one, so that a file of
 * such a name never is a program's own.
 */
const HIDDEN_PREFIX = `.${randomBytes(8).toString('hex').slice(0, 11)}`

const PATCHES: readonly Patch[] = [
  {
    // try_get_path: -ENOENT becomes -ESTALE, for a node that lost its name between the kernel's
    // lookup and the operation. After ESTALE the kernel looks again; ENOENT it tells the program,
    // though the name is there. libfuse 3 does the same.
    at: 0x9a61,
    old: Buffer.from([0xfe, 0xff, 0xff, 0xff]),
    new: Buffer.from([0x8c, 0xff, 0xff, 0xff]),
  },
  {
    // is_open: `setg` becomes `setge`, so that every file whose name goes is hidden, and not only an
    // open one: a program that has looked it up and opens it now finds it as on a local disk.
    at: 0x8d5d,
    old: Buffer.from([0x9f]),
    new: Buffer.from([0x9d]),
  },
  { at: 0x215dd, old: Buffer.from('.fuse_hidden%'), new: Buffer.from(`${HIDDEN_PREFIX}%`) },
]

/**
 * hide_node is called by fuse_lib_unlink and by fuse_lib_rename, and first looks whether the name is
 * free: this far above the `struct stat` of that getattr lies the address that it returns to, of
 * which the last twelve bits are the same wherever the library is loaded.
 */
const RETURN_ABOVE_STAT = 0x118n
const RETURNS: Readonly<Record<number, Hiding>> = { 1625: 'removal', 1129: 'replacement' }
const PAGE_MASK = 0xfffn

/** Why libfuse hides a file: to remove its name, or to rename another one over it. */
export type Hiding = 'removal' | 'replacement'

/**
 * In fuse_lib_setattr `struct timespec tv[2]` lies this far below the `struct stat` that the
 * getattr after it is to fill. The addon keeps milliseconds of the times only.
 */
const TIMES_BELOW_STAT = 0x60n
const TIMES_BYTES = 32

/** In struct fuse: without it a SETATTR of one of the two times alone is dropped in silence. */
const UTIME_OMIT_OK_AT = 0x11cn
/** fuse-native.c, fuse_thread_t: `struct fuse *fuse` and `char mnt[1024]`. */
const FUSE_AT = 368
const MOUNTPOINT_AT = 384

/** sys/mman.h. */
const MFD_CLOEXEC = 1
const memfdCreate = koffi.load(null).func('int memfd_create(const char *name, unsigned int flags)')

/**
 * Loads it, changed. The addon asks the loader for `libfuse.so.2`, which is this library's name of
 * itself; what is loaded already is found first.
 *
 * @throws ModelcacheError `no-fuse` where it is another library
 */
export function loadLibfuse(path: string): void {
  const library = readFileSync(path)
  const isKnown = createHash('sha256').update(library).digest('hex') === SHA256
  const fits = PATCHES.every(({ at, old }) => library.subarray(at, at + old.length).equals(old))
  if (!isKnown || !fits) {
    throw new ModelcacheError('the libfuse of fuse-native is not the one that is known here', {
      code: 'no-fuse',
      exitCode: 5,
    })
  }
  for (const patch of PATCHES) {
    library.set(patch.new, patch.at)
  }
  const fd = memfdCreate('libfuse.so.2', MFD_CLOEXEC)
  try {
    for (let at = 0; at < library.length; ) {
      at += writeSync(fd, library, at)
    }
    koffi.load(`/proc/self/fd/${fd}`, { global: true })
  } finally {
    closeSync(fd)
  }
}

/**
 * Makes a mount hand on times of which one is UTIME_OMIT or UTIME_NOW.
 *
 * @param thread the addon's memory of the mount
 */
export function acceptSingleTimes(thread: Buffer, mountpoint: string): void {
  const noted = thread.subarray(MOUNTPOINT_AT, MOUNTPOINT_AT + Buffer.byteLength(mountpoint))
  if (noted.toString() !== mountpoint) {
    throw new ModelcacheError('fuse-native keeps a mount in another way than is known here', {
      code: 'mount-failed',
      exitCode: 1,
    })
  }
  const one = Buffer.from(new Uint32Array([1]).buffer)
  poke(thread.readBigUInt64LE(FUSE_AT) + UTIME_OMIT_OK_AT, one)
}

/**
 * Two `struct timespec`, atime and mtime, of the SETATTR that a getattr ends.
 *
 * @param stat where that getattr's answer is to be put
 */
export function timesOfSetattr(stat: bigint): Buffer {
  return peek(stat - TIMES_BELOW_STAT, TIMES_BYTES)
}

/** Whether a file's name is one of those that libfuse gives hidden files. */
export function isHiddenName(name: string): boolean {
  return name.startsWith(HIDDEN_PREFIX)
}

/**
 * Why libfuse is about to hide a file, or undefined where it is not.
 *
 * @param stat where the answer of a getattr of a hidden name is to be put
 */
export function hidingOf(stat: bigint): Hiding | undefined {
  const address = peek(stat + RETURN_ABOVE_STAT, 8).readBigUInt64LE()
  return RETURNS[Number(address & PAGE_MASK)]
}
