/**
 * The libfuse 2.9.9 that fuse-native 2.2.6 brings for x86-64, known to the byte, and the three facts
 * about it that the answers of this engine need (docs/decisions/portable-engine.md).
 */
import { createHash } from 'node:crypto'
import { closeSync, readFileSync, writeSync } from 'node:fs'
import koffi from 'koffi'
import { ModelcacheError } from '../../base/index.ts'
import { peek, poke } from './memory.ts'

const SHA256 = '7f99b6229656f7eb81160e9cf52f089435bd281d564ac56fec7fff6f0c57b524'

/**
 * In try_get_path: `mov $-ENOENT, %ebx`, for a node that lost its name between the kernel's lookup
 * and the operation. The kernel looks a path up again after ESTALE and tells a program ENOENT: an
 * open(2) beside another's rename(2) would miss a name that is always there. libfuse 3 says ESTALE.
 */
const STALE_NODE_AT = 0x9a60
const STALE_NODE = [0xbb, 0xfe, 0xff, 0xff, 0xff]
const MINUS_ESTALE = Buffer.from([0x8c, 0xff, 0xff, 0xff])

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
 * Loads it, with an answer of libfuse 3 in the place of one of its own. The addon asks the loader
 * for `libfuse.so.2`, which is this library's name of itself; what is loaded already is found first.
 *
 * @throws ModelcacheError `no-fuse` where it is another library
 */
export function loadLibfuse(path: string): void {
  const library = readFileSync(path)
  const digest = createHash('sha256').update(library).digest('hex')
  const instruction = library.subarray(STALE_NODE_AT, STALE_NODE_AT + STALE_NODE.length)
  if (digest !== SHA256 || !instruction.equals(Buffer.from(STALE_NODE))) {
    throw new ModelcacheError('the libfuse of fuse-native is not the one that is known here', {
      code: 'no-fuse',
      exitCode: 5,
    })
  }
  library.set(MINUS_ESTALE, STALE_NODE_AT + 1)
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
