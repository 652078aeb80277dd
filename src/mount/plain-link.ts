import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
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
import type { DirectoryAttributes } from '../config/index.ts'

/** Of a mountpoint of which nobody knows what it was: nobody else is let in by mistake. */
const UNKNOWN_MODE = 0o700
/** File systems that cannot swap two names. */
const NO_EXCHANGE = ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']

/**
 * Puts a symbolic link to the tree in the place of an empty directory, or of nothing, in one step
 * where the file system can swap names. What anybody else puts there meanwhile stays.
 *
 * @throws ModelcacheError for people where something else is at the mountpoint
 */
export function placePlainLink(mountpoint: string, tree: string): void {
  if (leadsTo(mountpoint, tree)) {
    // Left by a daemon that died; the store's lock says that nobody else serves it.
    return
  }
  try {
    clearAside(nameAside(mountpoint, tree), tree)
    const stats = lstatSync(mountpoint, { throwIfNoEntry: false })
    if (stats === undefined) {
      symlinkSync(tree, mountpoint)
      return
    }
    if (!stats.isDirectory()) {
      throw refusal(mountpoint, 'it is no directory')
    }
    replaceDirectory(mountpoint, tree)
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
 * @param before what the directory was whose place the link took
 * @returns false where the link was not there any more
 * @throws the system's error: then the link is still there
 */
export function removePlainLink(
  mountpoint: string,
  tree: string,
  before?: DirectoryAttributes,
): boolean {
  if (!leadsTo(mountpoint, tree)) {
    return false
  }
  const aside = nameAside(mountpoint, tree)
  clearAside(aside, tree)
  let swapped = false
  try {
    makeDirectory(aside, before)
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
      clearAside(aside, tree)
    }
  }
  if (!swapped) {
    makeUnlessThere(mountpoint, before)
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
  const aside = nameAside(mountpoint, tree)
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
function makeUnlessThere(path: string, before: DirectoryAttributes | undefined): void {
  try {
    makeDirectory(path, before)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) {
      throw error
    }
  }
}

/**
 * By its descriptor: whoever may write into its folder could put a link in its place meanwhile.
 * Without the right to give a directory away it stays the daemon's.
 */
function makeDirectory(path: string, before: DirectoryAttributes | undefined): void {
  mkdirSync(path, UNKNOWN_MODE)
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    const { uid, gid } = fstatSync(fd)
    if (before !== undefined) {
      if (before.uid !== uid || before.gid !== gid) {
        tryGiveAway(fd, before)
      }
      fchmodSync(fd, before.mode)
    }
  } finally {
    closeSync(fd)
  }
}

function tryGiveAway(fd: number, { uid, gid }: DirectoryAttributes): void {
  try {
    fchownSync(fd, uid, gid)
  } catch (error) {
    if (!isErrno(error, 'EPERM')) {
      throw error
    }
  }
}

/** Hidden, beside the mountpoint, and there for a moment only: a name of this tree's own. */
function nameAside(mountpoint: string, tree: string): string {
  const key = createHash('sha256').update(tree).digest('hex').slice(0, 16)
  return join(dirname(mountpoint), `.modelcache-${key}`)
}

/** What a process left there that was killed between two steps; anything else is somebody's. */
function clearAside(aside: string, tree: string): void {
  if (leadsTo(aside, tree)) {
    unlinkSync(aside)
  } else if (lstatSync(aside, { throwIfNoEntry: false })?.isDirectory() === true) {
    rmdirSync(aside)
  }
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
