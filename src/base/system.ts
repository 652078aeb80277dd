/**
 * The system calls that Node does not offer, called through koffi. Everything native of the
 * daemon is in this file. All calls are short and synchronous but `syncfs`, which can take as
 * long as the disk needs. Linux only; constants are those of the kernel's uapi headers and the
 * same on x86-64 and arm64 unless said.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { constants as osConstants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'
import { ModelcacheError } from './errors.ts'

/** fcntl.h: relative paths start at the working folder. Ours are absolute. */
const AT_FDCWD = -100
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
/** linux/limits.h XATTR_SIZE_MAX: no attribute is larger. */
const XATTR_SIZE_MAX = 65536
/** Our attributes are small: most reads need one call. */
const XATTR_GUESS_BYTES = 512
const NS_PER_SECOND = 1_000_000_000n

type Path = string | Uint8Array
/** A signed word: sizes and results fit a double. */
type Call = (...values: (number | Uint8Array | null)[]) => number
type AsyncCall = Call & {
  async: (fd: number, done: (error: unknown, result: number) => void) => void
}

// Null loads the symbols of the process itself, so that glibc and musl both work.
const libc = koffi.load(null)
const declare = (definition: string): Call => libc.func(definition) as unknown as Call

const native = {
  fgetxattr: declare(
    'intptr_t fgetxattr(int fd, const void *name, _Out_ void *value, size_t size)',
  ),
  lgetxattr: declare(
    'intptr_t lgetxattr(const void *path, const void *name, _Out_ void *value, size_t size)',
  ),
  fsetxattr: declare(
    'int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)',
  ),
  lsetxattr: declare(
    'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
  ),
  fremovexattr: declare('int fremovexattr(int fd, const void *name)'),
  lremovexattr: declare('int lremovexattr(const void *path, const void *name)'),
  linkat: declare(
    'int linkat(int olddirfd, const void *oldpath, int newdirfd, const void *newpath, int flags)',
  ),
  futimens: declare('int futimens(int fd, const void *times)'),
  utimensat: declare('int utimensat(int dirfd, const void *path, const void *times, int flags)'),
  renameat2: declare(
    'int renameat2(int olddirfd, const void *oldpath, int newdirfd, const void *newpath, unsigned int flags)',
  ),
  syncfs: declare('int syncfs(int fd)') as AsyncCall,
}

/** The value of an attribute of an open file, or undefined where there is none. */
export function fgetxattr(fd: number, name: string): Uint8Array | undefined {
  const key = terminated(name)
  return readAttribute(`fgetxattr ${name}`, (value) =>
    native.fgetxattr(fd, key, value, value.length),
  )
}

/** The value of an attribute of a path itself (lgetxattr), or undefined where there is none. */
export function getxattr(path: Path, name: string): Uint8Array | undefined {
  const file = terminated(path)
  const key = terminated(name)
  return readAttribute(`lgetxattr ${name} of ${shown(path)}`, (value) =>
    native.lgetxattr(file, key, value, value.length),
  )
}

export function fsetxattr(fd: number, name: string, value: Uint8Array): void {
  check(`fsetxattr ${name}`, native.fsetxattr(fd, terminated(name), value, value.length, 0))
}

/** Sets an attribute of the path itself; a symbolic link is not followed. */
export function lsetxattr(path: Path, name: string, value: Uint8Array): void {
  check(
    `lsetxattr ${name} of ${shown(path)}`,
    native.lsetxattr(terminated(path), terminated(name), value, value.length, 0),
  )
}

/** Removes an attribute; one that is not there is not an error. */
export function fremovexattr(fd: number, name: string): void {
  checkRemoved(`fremovexattr ${name}`, native.fremovexattr(fd, terminated(name)))
}

/** Removes an attribute of the path itself; one that is not there is not an error. */
export function lremovexattr(path: Path, name: string): void {
  checkRemoved(
    `lremovexattr ${name} of ${shown(path)}`,
    native.lremovexattr(terminated(path), terminated(name)),
  )
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

/** Sets mtime, and atime to the same, in nanoseconds since 1970. Node's own lose them. */
export function futimensNs(fd: number, mtimeNs: bigint): void {
  check('futimens', native.futimens(fd, bothTimes(mtimeNs)))
}

/** As `futimensNs`, for a path; a symbolic link is not followed. */
export function utimensatNs(path: Path, mtimeNs: bigint): void {
  check(
    `utimensat ${shown(path)}`,
    native.utimensat(AT_FDCWD, terminated(path), bothTimes(mtimeNs), AT_SYMLINK_NOFOLLOW),
  )
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

function readAttribute(what: string, call: (value: Uint8Array) => number) {
  for (const size of [XATTR_GUESS_BYTES, XATTR_SIZE_MAX]) {
    const value = new Uint8Array(size)
    const length = call(value)
    if (length >= 0) {
      return value.subarray(0, length)
    }
    const errno = koffi.errno()
    if (errno === osConstants.errno.ENODATA) {
      return undefined
    }
    if (errno !== osConstants.errno.ERANGE || size === XATTR_SIZE_MAX) {
      throw systemError(what, errno)
    }
  }
  return undefined
}

function check(what: string, result: number): void {
  if (result === -1) {
    throw systemError(what, koffi.errno())
  }
}

function checkRemoved(what: string, result: number): void {
  if (result === -1 && koffi.errno() !== osConstants.errno.ENODATA) {
    throw systemError(what, koffi.errno())
  }
}

function systemError(what: string, errno: number): ModelcacheError {
  const name = getSystemErrorName(-errno)
  return new ModelcacheError(`${what}: ${name}`, { code: name, errno: name })
}

/** A C string. A NUL inside would silently name another file. */
function terminated(path: Path): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path
  if (bytes.includes(0)) {
    throw new ModelcacheError('a path contains NUL', { code: 'EINVAL', errno: 'EINVAL' })
  }
  const result = new Uint8Array(bytes.length + 1)
  result.set(bytes)
  return result
}

function shown(path: Path): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString()
}

/** Two `struct timespec` (64-bit seconds and nanoseconds, little-endian): atime and mtime. */
function bothTimes(timeNs: bigint): Uint8Array {
  const nanoseconds = ((timeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  const seconds = (timeNs - nanoseconds) / NS_PER_SECOND
  const times = new BigInt64Array([seconds, nanoseconds, seconds, nanoseconds])
  return new Uint8Array(times.buffer)
}
