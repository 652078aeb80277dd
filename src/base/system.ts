/**
 * System calls that Node does not offer. All are short and synchronous but `syncfs`, which can
 * take as long as the disk needs.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { ModelcacheError } from './errors.ts'
import { type AsyncCall, AT_FDCWD, check, declare, type Path, shown, terminated } from './libc.ts'

/** fcntl.h: linkat follows a symbolic link; needed for /proc/self/fd/N. */
const AT_SYMLINK_FOLLOW = 0x400
/** fcntl.h: act on a symbolic link itself. */
const AT_SYMLINK_NOFOLLOW = 0x100
/** linux/fs.h: fail with EEXIST where the new name exists. */
const RENAME_NOREPLACE = 1
/** linux/fs.h: swap two names in one step. */
const RENAME_EXCHANGE = 2
/** asm-generic/fcntl.h __O_TMPFILE; O_TMPFILE is this with O_DIRECTORY. Not in Node's table. */
const __O_TMPFILE = 0o20000000
/** linux/falloc.h: space beyond the end of the file, whose size stays. */
const FALLOC_FL_KEEP_SIZE = 1
/** linux/limits.h. */
const PATH_MAX = 4096
const NS_PER_SECOND = 1_000_000_000n

const native = {
  linkat: declare(
    'int linkat(int olddirfd, const void *oldpath, int newdirfd, const void *newpath, int flags)',
  ),
  mknod: declare('int mknod(const void *path, unsigned int mode, uint64_t dev)'),
  fallocate: declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)'),
  futimens: declare('int futimens(int fd, const void *times)'),
  utimensat: declare('int utimensat(int dirfd, const void *path, const void *times, int flags)'),
  readlinkat: declare(
    'intptr_t readlinkat(int directory, const void *path, _Out_ void *target, size_t size)',
  ),
  renameat2: declare(
    'int renameat2(int olddirfd, const void *oldpath, int newdirfd, const void *newpath, unsigned int flags)',
  ),
  syncfs: declare('int syncfs(int fd)') as AsyncCall,
}

/** Gives an open file (also one of O_TMPFILE) a name. EEXIST where the name is taken. */
export function linkFd(fd: number, newPath: Path): void {
  const source = terminated(`/proc/self/fd/${fd}`)
  check(
    `linkat ${shown(newPath)}`,
    native.linkat(AT_FDCWD, source, AT_FDCWD, terminated(newPath), AT_SYMLINK_FOLLOW),
  )
}

/**
 * Opens a file that has no name yet, for reading and writing. The caller closes the descriptor.
 * EOPNOTSUPP where the file system has no such files.
 */
export function openTmpfile(dir: string, mode: number): number {
  return openSync(dir, constants.O_RDWR | constants.O_DIRECTORY | __O_TMPFILE, mode)
}

/**
 * Makes a fifo, socket or device node.
 *
 * @param mode type and permission bits; the umask applies
 * @param dev device number as `stat` gives it, of devices only
 */
export function mknod(path: Path, mode: number, dev: number): void {
  check(`mknod ${shown(path)}`, native.mknod(terminated(path), mode, dev))
}

/**
 * Gets space for a part of a file that is still to be written; its size stays.
 *
 * @throws errno EOPNOTSUPP where the file system cannot
 */
export function reserveSpace(fd: number, offset: number, lengthBytes: number): void {
  check('fallocate', native.fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, lengthBytes))
}

/** Sets mtime and atime (the same unless given) in nanoseconds since 1970. Node's own lose them. */
export function futimensNs(fd: number, mtimeNs: bigint, atimeNs = mtimeNs): void {
  check('futimens', native.futimens(fd, times(atimeNs, mtimeNs)))
}

/** As `futimensNs`, for a path; a symbolic link is not followed. */
export function utimensatNs(path: Path, mtimeNs: bigint, atimeNs = mtimeNs): void {
  setTimes(path, mtimeNs, atimeNs, AT_SYMLINK_NOFOLLOW)
}

/**
 * Sets the times of what a link leads to: for `/proc/self/fd/N` of an O_PATH descriptor.
 *
 * @param specs two `struct timespec`, atime and mtime; UTIME_NOW and UTIME_OMIT are kept
 */
export function setTimesFollowed(path: Path, specs: Uint8Array): void {
  check(`utimensat ${shown(path)}`, native.utimensat(AT_FDCWD, terminated(path), specs, 0))
}

/**
 * The target of the symbolic link that a descriptor is open on (O_PATH), whatever its name.
 * ENOENT or EINVAL where it is no link.
 */
export function readLinkOf(fd: number): Buffer {
  const target = Buffer.alloc(PATH_MAX)
  const length = native.readlinkat(fd, terminated(''), target, target.length)
  check('readlink', length)
  return target.subarray(0, length)
}

/** Writes back everything of the file system that holds the descriptor. May take seconds. */
export function syncfs(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    native.syncfs.async(fd, (error, result) => {
      if (error !== null && error !== undefined) {
        reject(error)
      } else if (result === -1) {
        // errno belongs to the thread that made the call, so its name is lost here; the one
        // thing that syncfs reports of an open descriptor is that writing back failed.
        reject(new ModelcacheError('syncfs: write-back failed', { code: 'EIO', errno: 'EIO' }))
      } else {
        resolve()
      }
    })
  })
}

/** Renames; EEXIST where the new name is taken. */
export function renameNoReplace(from: Path, to: Path): void {
  rename2(from, to, RENAME_NOREPLACE)
}

/** Swaps two names in one step; both must exist. */
export function renameExchange(a: Path, b: Path): void {
  rename2(a, b, RENAME_EXCHANGE)
}

/** Magic numbers of linux/magic.h, for the file systems that matter to a store. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2240043254: 'ramfs',
  2035054128: 'overlay',
  1702057286: 'fuse',
  26985: 'nfs',
  4283649346: 'cifs',
  801189825: 'zfs',
  4076150800: 'f2fs',
}

/** The kind of file system that holds a path: `ext4`, `tmpfs`, …, or its magic as `0x…`. */
export async function statfsType(path: string): Promise<string> {
  const magic = (await statfs(path)).type
  return FILE_SYSTEMS[magic] ?? `0x${magic.toString(16)}`
}

/** Syncs the file system that holds a path. */
export async function syncFileSystemOf(path: string): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    await syncfs(fd)
  } finally {
    closeSync(fd)
  }
}

function rename2(from: Path, to: Path, flags: number): void {
  check(
    `renameat2 ${shown(from)} to ${shown(to)}`,
    native.renameat2(AT_FDCWD, terminated(from), AT_FDCWD, terminated(to), flags),
  )
}

function setTimes(path: Path, mtimeNs: bigint, atimeNs: bigint, flags: number): void {
  check(
    `utimensat ${shown(path)}`,
    native.utimensat(AT_FDCWD, terminated(path), times(atimeNs, mtimeNs), flags),
  )
}

/** Two `struct timespec` (64-bit seconds and nanoseconds, little-endian). */
function times(atimeNs: bigint, mtimeNs: bigint): Uint8Array {
  const fields = [...timespec(atimeNs), ...timespec(mtimeNs)]
  return new Uint8Array(new BigInt64Array(fields).buffer)
}

function timespec(timeNs: bigint): [seconds: bigint, nanoseconds: bigint] {
  const nanoseconds = ((timeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  return [(timeNs - nanoseconds) / NS_PER_SECOND, nanoseconds]
}
