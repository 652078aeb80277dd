import { basename, dirname, join, resolve } from 'node:path'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { realPlace, shown, usageError } from '../config/index.ts'
import {
  type MountEntry,
  mountedOn,
  mountOf,
  type OwnMount,
  ownMount,
  readMountTable,
} from './mount-table.ts'

/** A path that cannot be followed to its end holds no mount that this user could mean. */
const NOWHERE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENOTCONN', 'ENAMETOOLONG'] as const

/**
 * The real path of what was named, links followed; undefined if not even its parent can be reached. A
 * dead mount is found by its name.
 */
export async function tryRealPath(value: string, cwd: string): Promise<string | undefined> {
  try {
    return await realPlace(resolve(cwd, value))
  } catch (error) {
    if (isErrno(error, ...NOWHERE)) {
      return undefined
    }
    throw error
  }
}

/** Our mount on exactly this directory; undefined if nothing of ours is mounted there. */
export async function tryMountOn(value: string, cwd: string): Promise<OwnMount | undefined> {
  if (value === '') {
    throw usageError('the directory "": give the mountpoint, such as ./model_cache')
  }
  return (await findMountOn(resolve(cwd, value)))?.mount
}

/**
 * What is mounted on a directory. Its own name is looked up in the table of mounts before it is
 * asked whether it is a link: a mount whose keeper is stopped answers nothing.
 *
 * @param path - absolute
 * @returns its real path and the mount on it; undefined if not even its parent exists
 */
export async function findMountOn(
  path: string,
): Promise<
  { path: string; entry: MountEntry | undefined; mount: OwnMount | undefined } | undefined
> {
  const table = await readMountTable()
  const parent = await tryRealPath(dirname(path), '/')
  const named = parent === undefined ? undefined : join(parent, basename(path))
  const isMountpoint = named !== undefined && mountedOn(table, named) !== undefined
  const real = isMountpoint ? named : await tryRealPath(path, '/')
  if (real === undefined) {
    return undefined
  }
  const entry = mountedOn(table, real)
  return { path: real, entry, mount: entry === undefined ? undefined : ownMount(entry) }
}

/** Our mount that a path lies in. */
export interface Located {
  readonly mount: OwnMount
  /** Relative to the mountpoint; the empty string is the mountpoint itself. */
  readonly inside: string
}

/**
 * Finds our mount that holds a path; links are followed.
 *
 * @throws ModelcacheError `not-mounted`, exit code 1, if there is none
 */
export async function locate(value: string, cwd: string): Promise<Located> {
  const path = value === '' ? undefined : await tryRealPath(value, cwd)
  const entry = path === undefined ? undefined : mountOf(await readMountTable(), path)
  const mount = entry === undefined ? undefined : ownMount(entry)
  if (path === undefined || mount === undefined) {
    throw new ModelcacheError(
      `${shown(value)} is not in a mount of modelcache; \`modelcache status\` lists them`,
      { code: 'not-mounted', exitCode: 1 },
    )
  }
  return { mount, inside: path.slice(mount.mountpoint.length + 1) }
}
