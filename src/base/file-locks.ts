/** Locks and leases on open files, which Node does not know. */
import { constants as osConstants } from 'node:os'
import { check, declare, declareVariadic, lastErrno, systemError } from './libc.ts'

/** sys/file.h */
const LOCK_EX = 2
const LOCK_NB = 4
/** asm-generic/fcntl.h: F_LINUX_SPECIFIC_BASE is 1024. */
const F_SETSIG = 10
const F_SETLEASE = 1024
const F_GETLEASE = 1025
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

/**
 * The signal by which the kernel says that a lease is being broken. The default action of SIGIO,
 * which it sends unless told otherwise, ends the process; that of SIGURG does nothing, so that no
 * moment without a handler (start, exit) can kill anybody. Nothing here has urgent socket data.
 */
export const LEASE_SIGNAL = 'SIGURG'

const native = {
  flock: declare('int flock(int fd, int operation)'),
  fcntl: declareVariadic('int fcntl(int fd, int command, ...)'),
}

/**
 * Locks an open file against every other open of it (flock) until the descriptor is closed.
 *
 * @returns false where another holds the lock
 */
export function tryFlock(fd: number): boolean {
  if (native.flock(fd, LOCK_EX | LOCK_NB) === 0) {
    return true
  }
  const errno = lastErrno()
  if (errno === osConstants.errno.EWOULDBLOCK) {
    return false
  }
  throw systemError('flock', errno)
}

/**
 * Takes a read lease: while it holds, an open for writing or a truncation of the file waits, at
 * most /proc/sys/fs/lease-break-time, and this process gets LEASE_SIGNAL. The descriptor must be
 * read-only. The lease goes with the descriptor.
 *
 * @throws errno EAGAIN where somebody has the file open or mapped for writing; EACCES where it is
 *   of another user
 */
export function takeReadLease(fd: number): void {
  check('F_SETSIG', native.fcntl(fd, F_SETSIG, 'int', osConstants.signals[LEASE_SIGNAL]))
  check('F_SETLEASE', native.fcntl(fd, F_SETLEASE, 'int', F_RDLCK))
}

/**
 * Takes a write lease: as `takeReadLease`, but whoever opens the file at all waits.
 *
 * @throws errno EAGAIN where anybody else has the file open, also this process
 */
export function takeWriteLease(fd: number): void {
  check('F_SETSIG', native.fcntl(fd, F_SETSIG, 'int', osConstants.signals[LEASE_SIGNAL]))
  check('F_SETLEASE', native.fcntl(fd, F_SETLEASE, 'int', F_WRLCK))
}

/** False without a lease and while one is being broken. */
export function hasReadLease(fd: number): boolean {
  const kind = native.fcntl(fd, F_GETLEASE, 'int', 0)
  check('F_GETLEASE', kind)
  return kind === F_RDLCK
}

/** Lets the lease go, so that who waits for it goes on. None is fine. */
export function dropLease(fd: number): void {
  const failed = native.fcntl(fd, F_SETLEASE, 'int', F_UNLCK) === -1
  // EAGAIN: the lease is gone already (the time to break it had passed).
  if (failed && lastErrno() !== osConstants.errno.EAGAIN) {
    throw systemError('F_SETLEASE', lastErrno())
  }
}
