import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import {
  type ExitCode,
  isErrno,
  ModelcacheError,
  messageOf,
  renameExchange,
} from '../base/index.ts'

const PERMISSION_BITS = 0o7777
const DEFAULT_MODE = 0o755
/** File systems that cannot swap two names. */
const NO_EXCHANGE = ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']

/**
 * Puts a symbolic link to the tree in the place of an empty directory, or of nothing, in one step
 * where the file system can swap names. What anybody else puts there meanwhile stays.
 *
 * @returns the mode of the directory, to be given to the one that takes its place again
 * @throws ModelcacheError for people where something else is at the mountpoint
 */
export function placePlainLink(mountpoint: string, tree: string): number {
  if (leadsTo(mountpoint, tree)) {
    // Left by a daemon that died; the store's lock says that nobody else serves it.
    return DEFAULT_MODE
  }
  try {
    const stats = lstatSync(mountpoint, { throwIfNoEntry: false })
    if (stats === undefined) {
      symlinkSync(tree, mountpoint)
      return DEFAULT_MODE
    }
    if (!stats.isDirectory()) {
      throw refusal(mountpoint, 'it is no directory')
    }
    replaceDirectory(mountpoint, tree)
    return stats.mode & PERMISSION_BITS
  } catch (error) {
    throw error instanceof ModelcacheError && error.exitCode !== undefined
      ? error
      : refusal(mountpoint, reasonOf(error), error)
  }
}

/**
 * Takes the link away and puts an empty directory in its place, in one step where the file system
 * can swap names. Anything but a link to this tree stays as it is.
 *
 * @returns false where the link was not there any more
 * @throws the system's error: then the link is still there
 */
export function removePlainLink(mountpoint: string, tree: string, mode = DEFAULT_MODE): boolean {
  if (!leadsTo(mountpoint, tree)) {
    return false
  }
  const aside = nameAside(mountpoint)
  mkdirSync(aside)
  let swapped = false
  try {
    chmodSync(aside, mode)
    swapped = tryExchange(aside, mountpoint)
    if (swapped && !leadsTo(aside, tree)) {
      // Somebody was faster: it is theirs.
      renameExchange(aside, mountpoint)
      swapped = false
      return false
    }
    unlinkSync(swapped ? aside : mountpoint)
  } catch (error) {
    if (!swapped && isErrno(error, 'ENOENT')) {
      return false
    }
    throw error
  } finally {
    if (!swapped) {
      rmdirSync(aside)
    }
  }
  if (!swapped) {
    makeUnlessThere(mountpoint, mode)
  }
  return true
}

/** True for a link that says exactly this. */
export function leadsTo(path: string, target: string): boolean {
  try {
    return readlinkSync(path) === target
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL', 'ENOTDIR')) {
      return false
    }
    throw error
  }
}

function replaceDirectory(mountpoint: string, tree: string): void {
  const aside = nameAside(mountpoint)
  symlinkSync(tree, aside)
  let swapped = false
  try {
    swapped = tryExchange(aside, mountpoint)
    // Refuses what is not empty: what was put there in the meantime too.
    rmdirSync(swapped ? aside : mountpoint)
  } catch (error) {
    if (swapped) {
      renameExchange(aside, mountpoint)
    }
    unlinkSync(aside)
    throw error
  }
  if (!swapped) {
    unlinkSync(aside)
    symlinkSync(tree, mountpoint)
  }
}

/** False where the file system cannot do it. */
function tryExchange(one: string, other: string): boolean {
  try {
    renameExchange(one, other)
    return true
  } catch (error) {
    if (isErrno(error, ...NO_EXCHANGE)) {
      return false
    }
    throw error
  }
}

/** Whoever took the name between the two steps has it. */
function makeUnlessThere(path: string, mode: number): void {
  try {
    mkdirSync(path)
    chmodSync(path, mode)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) {
      throw error
    }
  }
}

/** Hidden, beside the mountpoint, and there for a moment only. */
function nameAside(mountpoint: string): string {
  return join(dirname(mountpoint), `.modelcache-${randomBytes(8).toString('hex')}`)
}

function reasonOf(error: unknown): string {
  if (isErrno(error, 'ENOTEMPTY', 'EEXIST')) {
    return 'it is not empty'
  }
  if (isErrno(error, 'EBUSY')) {
    return 'something is mounted there'
  }
  if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) {
    return 'its folder must be writable, for a link takes its place'
  }
  return messageOf(error)
}

function refusal(mountpoint: string, why: string, cause?: unknown): ModelcacheError {
  const exitCode: ExitCode = isErrno(cause, 'EACCES', 'EPERM', 'EROFS') ? 5 : 1
  const code = exitCode === 5 ? 'permission' : 'mount-failed'
  return new ModelcacheError(`mountpoint ${mountpoint}: ${why}`, { code, exitCode, cause })
}
