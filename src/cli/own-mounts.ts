import { readlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isErrno } from '../base/index.ts'
import { type EngineName, readServingMark } from '../config/index.ts'
import { fuseMount, fuseMounts, type MountEntry, readMountTable } from './mount-table.ts'

/** One of our mounts. */
export interface OwnMount {
  readonly mountpoint: string
  readonly store: string
  /** `major:minor` of a FUSE mount; empty for one without an engine, which is a link. */
  readonly device: string
  readonly engine: EngineName
}

/** Where the files of a mount really are, as the kernel names them. */
export function rootOf({ engine, mountpoint, store }: OwnMount): string {
  return engine === 'none' ? `${store}/tree` : mountpoint
}

/** Our FUSE mount that an entry of the table is; its engine is the keeper unless the store says another. */
export async function ownMountOf(entry: MountEntry): Promise<OwnMount | undefined> {
  const fuse = fuseMount(entry)
  return fuse === undefined ? undefined : { ...fuse, engine: await engineOf(fuse.store) }
}

/** All FUSE mounts of ours, each mountpoint once. */
export async function ownFuseMounts(): Promise<OwnMount[]> {
  const mounts = fuseMounts(await readMountTable())
  return Promise.all(mounts.map(async (fuse) => ({ ...fuse, engine: await engineOf(fuse.store) })))
}

async function engineOf(store: string): Promise<EngineName> {
  const engine = (await readServingMark(store))?.engine
  // A store whose mark says `none` and that is mounted by FUSE was mounted by a keeper since.
  return engine === undefined || engine === 'none' ? 'native' : engine
}

/**
 * The mount without an engine whose link this name is. Only a link that the store's own mark names
 * counts: people make links to their files too.
 *
 * @param path - the real path of its folder, and its name
 */
export async function plainMountAt(path: string): Promise<OwnMount | undefined> {
  const target = await linkTarget(path)
  const store = target?.startsWith('/') && target.endsWith('/tree') ? dirname(target) : undefined
  return store === undefined ? undefined : plainMountOf(store, path)
}

/** The mount without an engine of a store, if it has one; `path` says that it must be there. */
export async function plainMountOf(store: string, path?: string): Promise<OwnMount | undefined> {
  const mark = await readServingMark(store)
  if (mark?.engine !== 'none' || (path ?? mark.mountpoint) !== mark.mountpoint) {
    return undefined
  }
  const { mountpoint, engine } = mark
  const isThere = (await linkTarget(mountpoint)) === `${store}/tree`
  return isThere ? { mountpoint, store, device: '', engine } : undefined
}

/** The mount without an engine that a real path lies in: a path below its store's tree. */
export async function plainMountAround(path: string): Promise<OwnMount | undefined> {
  for (let folder = path; folder !== '/'; folder = dirname(folder)) {
    if (folder.endsWith('/tree')) {
      const mount = await plainMountOf(dirname(folder))
      if (mount !== undefined) {
        return mount
      }
    }
  }
  return undefined
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL', 'ENOTDIR', 'EACCES', 'ENOTCONN', 'ELOOP')) {
      return undefined
    }
    throw error
  }
}
