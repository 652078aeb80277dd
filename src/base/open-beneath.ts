/** Opening files beneath a directory, whatever links others put there meanwhile. */
import { closeSync, constants } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { declareVariadic, lastErrno, type Path, shown, systemError, terminated } from './libc.ts'

/** asm-generic/fcntl.h: only a place, not for reading or writing. Not in Node's table. */
export const O_PATH = 0o10000000
const O_CLOEXEC = 0o2000000
/** asm-generic/unistd.h, the same on x86-64. */
const SYS_OPENAT2 = 437
/** linux/openat2.h: NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH. */
const RESOLVE = 0x01 | 0x02 | 0x04 | 0x08
const RESOLVE_NO_SYMLINKS = 0x04
/** PATH_MAX is 4096 with the NUL; longer paths are walked in pieces of at most this. */
const PIECE_BYTES = 3840
const SLASH = 0x2f

const native = {
  openat: declareVariadic('int openat(int dirfd, const void *path, int flags, ...)'),
  syscall: declareVariadic('intptr_t syscall(intptr_t number, ...)'),
}

/** Kernels before 5.6 and some sandboxes have no openat2: each component is opened by itself. */
let hasOpenat2: boolean | undefined

/**
 * Opens what is at a path beneath a directory; the caller closes the descriptor. No symbolic link
 * is followed (ELOOP; with O_PATH a last link is opened itself), nothing outside of the directory
 * and no other file system is reached (EXDEV). The path may be longer than PATH_MAX.
 *
 * @param path relative, without empty components; '' is the directory itself
 * @param flags without O_CREAT; O_NOFOLLOW and O_CLOEXEC are added
 */
export function openBeneath(dirFd: number, path: Path, flags: number): number {
  hasOpenat2 ??= probe(dirFd)
  if (!hasOpenat2) {
    return openByComponents(dirFd, path, flags)
  }
  const pieces = piecesOf(Buffer.from(path), PIECE_BYTES, (flags & O_PATH) !== 0)
  return openPieces(dirFd, pieces, flags, openat2)
}

/** As `openBeneath`, without openat2: each component is opened by itself, and `..` never is. */
export function openByComponents(dirFd: number, path: Path, flags: number): number {
  return openPieces(dirFd, piecesOf(Buffer.from(path), 0, true), flags, (at, name, how) => {
    if (shown(name) === '..' || name.includes(SLASH)) {
      throw systemError(`open ${shown(path)}`, osConstants.errno.EXDEV)
    }
    return openAt(at, name, how)
  })
}

function openPieces(
  dirFd: number,
  pieces: readonly Uint8Array[],
  flags: number,
  open: (at: number, piece: Uint8Array, how: number) => number,
): number {
  let at = dirFd
  try {
    for (const [index, piece] of pieces.entries()) {
      const isLast = index === pieces.length - 1
      const next = open(at, piece, isLast ? flags : O_PATH | constants.O_DIRECTORY)
      if (at !== dirFd) {
        closeSync(at)
      }
      at = next
    }
    return at
  } catch (error) {
    if (at !== dirFd) {
      closeSync(at)
    }
    throw error
  }
}

/**
 * Opens one name in a directory, as openat(2) does, with O_NOFOLLOW.
 *
 * @param mode of a file that O_CREAT makes
 */
export function openAt(dirFd: number, name: Path, flags: number, mode = 0): number {
  const all = flags | constants.O_NOFOLLOW | O_CLOEXEC
  const fd = native.openat(dirFd, terminated(name), all, 'unsigned int', mode)
  if (fd === -1) {
    throw systemError(`open ${shown(name)}`, lastErrno())
  }
  return fd
}

function openat2(dirFd: number, path: Uint8Array, flags: number): number {
  const fd = tryOpenat2(dirFd, path, flags)
  if (fd < 0) {
    throw systemError(`open ${shown(path)}`, -fd)
  }
  return fd
}

/** The descriptor, or the negative errno. */
function tryOpenat2(dirFd: number, path: Uint8Array, flags: number): number {
  // A last link with O_PATH | O_NOFOLLOW is opened itself, which NO_SYMLINKS would refuse.
  const single = !path.includes(SLASH)
  const resolve = single ? RESOLVE & ~RESOLVE_NO_SYMLINKS : RESOLVE
  const all = BigInt((flags | constants.O_NOFOLLOW | O_CLOEXEC) >>> 0)
  const how = new Uint8Array(new BigUint64Array([all, 0n, BigInt(resolve)]).buffer)
  const call = native.syscall(
    SYS_OPENAT2,
    'int',
    dirFd,
    'const void *',
    terminated(path),
    'const void *',
    how,
    'size_t',
    how.length,
  )
  return call === -1 ? -lastErrno() : call
}

function probe(dirFd: number): boolean {
  const fd = tryOpenat2(dirFd, Buffer.from('.'), O_PATH | constants.O_DIRECTORY)
  if (fd >= 0) {
    closeSync(fd)
    return true
  }
  // EPERM: how older sandboxes refuse a system call that they do not know.
  if (fd === -osConstants.errno.ENOSYS || fd === -osConstants.errno.EPERM) {
    return false
  }
  throw systemError('openat2', -fd)
}

/** Pieces of whole components, of at most `limitBytes` where that is possible; '.' for none. */
function piecesOf(path: Buffer, limitBytes: number, lastAlone: boolean): Uint8Array[] {
  if (path.length === 0) {
    return [Buffer.from('.')]
  }
  const pieces: Uint8Array[] = []
  let start = 0
  for (let at = 0; at < path.length; ) {
    const slash = path.indexOf(SLASH, at + 1)
    const end = slash === -1 ? path.length : slash
    const isLast = lastAlone && slash === -1
    if (at > start && (end - start > limitBytes || isLast)) {
      pieces.push(path.subarray(start, at - 1))
      start = at
    }
    at = end + 1
  }
  pieces.push(path.subarray(start))
  return pieces
}
