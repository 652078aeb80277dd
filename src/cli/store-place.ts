import { link, realpath, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { shQuoted } from '../attach/index.ts'
import {
  isErrno,
  lremovexattr,
  lsetxattr,
  ModelcacheError,
  messageOf,
  statfsType,
} from '../base/index.ts'
import { shown, usageError } from '../config/index.ts'
import { createStore, type StorePaths } from '../tree/index.ts'
import { FOREIGN } from './foreign-store.ts'

/** A store that a keeper can be started on. */
export interface PreparedStore {
  readonly paths: StorePaths
  /** Removes what this run made, unless a file has come into its tree. */
  undo(): Promise<void>
}

/** The real path that a store has or will have, whatever part of it exists already. */
export async function realStorePlace(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return join(await realStorePlace(dirname(path)), basename(path))
    }
    throw storeError(path, error)
  }
}

/**
 * Makes a store, or checks the one that is there, and what its file system can do.
 *
 * @param place - real path
 * @param needsPlaceholders - whether files will be remote, which needs user xattrs
 * @param tell - gets warnings
 */
export async function prepareStore(
  place: string,
  needsPlaceholders: boolean,
  tell: (line: string) => void,
): Promise<PreparedStore> {
  const made = await firstMissing(place)
  const paths = await createStoreAt(place)
  const undo = () => (made === undefined ? Promise.resolve() : removeEmptyStore(paths, made))
  try {
    await checkHardLinks(paths)
    await checkXattrs(paths, needsPlaceholders, tell)
    await tellOfFileSystem(paths, tell)
  } catch (error) {
    await undo()
    throw error
  }
  return { paths, undo }
}

async function createStoreAt(place: string): Promise<StorePaths> {
  try {
    return await createStore(place)
  } catch (error) {
    if (isErrno(error, 'EEXIST', 'ENOTDIR')) {
      throw usageError(`--store ${shown(place)}: it is no folder; give one, or a free name`, error)
    }
    throw error instanceof ModelcacheError ? unfit(place, error) : storeError(place, error)
  }
}

/** A folder that is no store and cannot become one was named by mistake. */
function unfit(place: string, error: ModelcacheError): ModelcacheError {
  switch (error.code) {
    case 'store-not-empty':
      return usageError(
        `--store ${shown(place)}: it is not empty, and no store of modelcache; give a store, an ` +
          'empty folder or a free name',
        error,
      )
    case 'store-mode':
      return usageError(
        `--store ${shown(place)}: others may enter it; close it with ` +
          `\`chmod 700 ${shQuoted(place)}\`, or give a free name`,
        error,
      )
    case 'store-owner':
      return usageError(`--store ${shown(place)}: it ${FOREIGN}; give one of your own`, error)
    default:
      return error
  }
}

/** A store that cannot be made or entered, in the words of the command line. */
function storeError(path: string, error: unknown): unknown {
  if (isErrno(error, 'ENOTDIR', 'ELOOP')) {
    return usageError(`--store ${shown(path)}: a part of this path is no directory`, error)
  }
  if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) {
    return new ModelcacheError(
      `--store ${shown(path)}: permission denied; give a --store that you can write to`,
      { code: 'permission', exitCode: 5, cause: error },
    )
  }
  return new ModelcacheError(`--store ${shown(path)}: ${messageOf(error)}`, {
    code: 'store-failed',
    exitCode: 1,
    cause: error,
  })
}

/** The topmost folder that has to be made for this path; undefined if it is all there. */
async function firstMissing(place: string): Promise<string | undefined> {
  let missing: string | undefined
  for (let path = place; ; path = dirname(path)) {
    try {
      await stat(path)
      return missing
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        throw storeError(place, error)
      }
      missing = path
    }
  }
}

/**
 * The tree goes first, and only if it is empty: from then on nothing of the user's is in the
 * store, and all of it is ours to remove.
 */
async function removeEmptyStore(paths: StorePaths, made: string): Promise<void> {
  try {
    await rmdir(paths.tree)
  } catch (error) {
    if (isErrno(error, 'ENOTEMPTY')) {
      return
    }
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
  await rm(paths.store, { recursive: true, force: true })
  for (let path = paths.store; path !== made; ) {
    path = dirname(path)
    await rmdir(path)
  }
}

async function checkHardLinks(paths: StorePaths): Promise<void> {
  const probe = join(paths.staging, `.link-probe-${process.pid}`)
  try {
    await link(paths.version, probe)
  } catch (error) {
    if (isErrno(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) {
      throw new ModelcacheError(
        `--store ${shown(paths.store)}: its file system (${await statfsType(paths.store)}) has no ` +
          'hard links; give a --store on ext4, XFS, Btrfs or another local file system',
        { code: 'no-hard-links', exitCode: 5, cause: error },
      )
    }
    throw error
  }
  await rm(probe)
}

/** Whether files and directories of this file system can carry `user.` attributes. */
export function hasUserXattrs(directory: string): boolean {
  try {
    lsetxattr(directory, 'user.modelcache.probe', new Uint8Array([1]))
    lremovexattr(directory, 'user.modelcache.probe')
    return true
  } catch (error) {
    if (isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EPERM')) {
      return false
    }
    throw error
  }
}

async function checkXattrs(
  paths: StorePaths,
  needsPlaceholders: boolean,
  tell: (line: string) => void,
): Promise<void> {
  if (hasUserXattrs(paths.store)) {
    return
  }
  const type = await statfsType(paths.store)
  const what = `--store ${shown(paths.store)}: its file system (${type}) has no user xattrs`
  if (needsPlaceholders) {
    throw new ModelcacheError(
      `${what}, which --from needs for files that are still remote; give a --store on ext4, XFS, ` +
        'Btrfs, or tmpfs of kernel 6.6 or later',
      { code: 'no-xattrs', exitCode: 5 },
    )
  }
  tell(`warning: ${what}: nothing can be opened with --from here; all else works`)
}

/** What a file system takes away that a user would not expect. */
const FILE_SYSTEM_WARNINGS: Readonly<Record<string, string>> = {
  overlay:
    'is on overlayfs, the writable layer of a container: it goes when the container goes, and ' +
    'reads are not passed through; give a --store on a volume to keep it',
  nfs: 'is on NFS: its locks and leases are not a local disk’s; give a --store on a local disk',
  cifs: 'is on SMB: its locks and links are not a local disk’s; give a --store on a local disk',
  ramfs: 'is on ramfs: it is lost when the machine stops',
}

async function tellOfFileSystem(paths: StorePaths, tell: (line: string) => void): Promise<void> {
  const warning = FILE_SYSTEM_WARNINGS[await statfsType(paths.store)]
  if (warning !== undefined) {
    tell(`warning: --store ${shown(paths.store)} ${warning}`)
  }
}
