import { mkdir, readdir, readlink, rmdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { shQuoted } from '../attach/index.ts'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { realPlace, shown, usageError } from '../config/index.ts'
import { findMountOn } from './locate.ts'
import type { OwnMount } from './own-mounts.ts'
import { isStale, serverOf, takeAway } from './stale-mount.ts'

/** A directory that can be mounted on. */
export interface Mountpoint {
  /** Real path. */
  readonly path: string
  /** Removes the directory if this run made it; what was there before stays. */
  undo(): Promise<void>
}

/** Either a mountpoint that is free, or the living mount that is there already. */
export type MountpointState =
  | { readonly kind: 'free'; readonly path: string }
  | { readonly kind: 'ours'; readonly path: string; readonly mount: OwnMount }

/**
 * Looks at what a mountpoint is now, and repairs a stale mount of ours on the way: a dead one is
 * taken away, never mounted over.
 *
 * @param path - absolute
 * @param tell - gets the line about a repair
 */
export async function lookAtMountpoint(
  path: string,
  tell: (line: string) => void,
  signal: AbortSignal,
): Promise<MountpointState> {
  const found = await findMountOn(path)
  const own = found?.mount
  if (found?.entry !== undefined && own === undefined) {
    const { entry } = found
    throw new ModelcacheError(
      `mountpoint ${shown(path)}: a file system of type ${entry.type} is mounted there already; ` +
        'give another directory, or one inside it',
      { code: 'already-mounted', exitCode: 1 },
    )
  }
  if (found === undefined || own === undefined) {
    return { kind: 'free', path: await realMountpoint(path) }
  }
  if (await isStale(own, signal)) {
    tell(`${found.path}: its ${serverOf(own)} is dead; takes the stale mount away and mounts again`)
    await takeAway(own, signal)
    return lookAtMountpoint(found.path, tell, signal)
  }
  return { kind: 'ours', path: found.path, mount: own }
}

async function realMountpoint(path: string): Promise<string> {
  try {
    return await realPlace(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      const target = await tryLink(path)
      throw usageError(
        target === undefined
          ? `mountpoint ${shown(path)}: its parent does not exist; make it with ` +
              `\`mkdir -p ${shQuoted(dirname(path))}\``
          : `mountpoint ${shown(path)}: it is a link to ${shown(target)}, which does not exist`,
        error,
      )
    }
    if (isErrno(error, 'ENOTDIR', 'ELOOP')) {
      throw usageError(`mountpoint ${shown(path)}: a part of this path is no directory`, error)
    }
    if (isErrno(error, 'EACCES')) {
      throw permissionError(path, error)
    }
    throw error
  }
}

async function tryLink(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL')) {
      return undefined
    }
    throw error
  }
}

function permissionError(path: string, cause: unknown): ModelcacheError {
  return new ModelcacheError(
    `mountpoint ${shown(path)}: permission denied; give a directory of your own`,
    { code: 'permission', exitCode: 5, cause },
  )
}

/**
 * Makes sure that a free mountpoint is an empty directory, and makes it if it is missing.
 *
 * @param path - real path
 */
export async function prepareMountpoint(path: string): Promise<Mountpoint> {
  try {
    const there = await tryStat(path)
    if (there === undefined) {
      await mkdir(path)
      return { path, undo: () => rmdir(path) }
    }
    if (!there.isDirectory()) {
      throw usageError(`mountpoint ${shown(path)}: it is no directory; give an empty directory`)
    }
    const [name] = await readdir(path)
    if (name !== undefined) {
      throw usageError(
        `mountpoint ${shown(path)}: it is not empty (${shown(name)}); give an empty directory, ` +
          'or copy its files into the mount afterwards',
      )
    }
    return { path, undo: async () => {} }
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) {
      throw permissionError(path, error)
    }
    throw error
  }
}

async function tryStat(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}
