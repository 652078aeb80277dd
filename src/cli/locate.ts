import { basename, dirname, join, resolve } from 'node:path'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { isWithin, realPlace, shown, usageError } from '../config/index.ts'
import { type MountEntry, mountedOn, mountOf, readMountTable } from './mount-table.ts'
import { type OwnMount, ownMountOf, plainMountAround, plainMountAt, rootOf } from './own-mounts.ts'

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

/** What is on a directory. */
export interface FoundMount {
  /** Its real path; of a mount without an engine that of its folder, and its own name. */
  readonly path: string
  /** The entry of the system's table, ours or not. */
  readonly entry: MountEntry | undefined
  readonly mount: OwnMount | undefined
}

/**
 * What is mounted on a directory. Its own name is looked up in the table of mounts before it is
 * asked whether it is a link: a mount whose keeper is stopped answers nothing.
 *
 * @param path - absolute
 * @returns undefined if not even its parent exists
 */
export async function findMountOn(path: string): Promise<FoundMount | undefined> {
  const table = await readMountTable()
  const parent = await tryRealPath(dirname(path), '/')
  const named = parent === undefined ? undefined : join(parent, basename(path))
  const isMountpoint = named !== undefined && mountedOn(table, named) !== undefined
  const link = named === undefined || isMountpoint ? undefined : await plainMountAt(named)
  if (link !== undefined) {
    return { path: link.mountpoint, entry: undefined, mount: link }
  }
  const real = isMountpoint ? named : await tryRealPath(path, '/')
  if (real === undefined) {
    return undefined
  }
  const entry = mountedOn(table, real)
  if (entry !== undefined) {
    return { path: real, entry, mount: await ownMountOf(entry) }
  }
  // Whoever stands in a mount without an engine stands in its store.
  const around = await plainMountAround(real)
  return around !== undefined && rootOf(around) === real
    ? { path: around.mountpoint, entry, mount: around }
    : { path: real, entry, mount: undefined }
}

/** Our mount that a path lies in. */
export interface Located {
  readonly mount: OwnMount
  /** Relative to its root; the empty string is the root itself. */
  readonly inside: string
}

/**
 * Finds our mount that holds a path; links are followed.
 *
 * @throws ModelcacheError `not-mounted`, exit code 1, if there is none
 */
export async function locate(value: string, cwd: string): Promise<Located> {
  const path = value === '' ? undefined : await tryRealPath(value, cwd)
  const mount = path === undefined ? undefined : await mountAround(path)
  if (path === undefined || mount === undefined) {
    throw new ModelcacheError(
      `${shown(value)} is not in a mount of modelcache; \`modelcache status\` lists them`,
      { code: 'not-mounted', exitCode: 1 },
    )
  }
  return { mount, inside: path.slice(rootOf(mount).length + 1) }
}

async function mountAround(path: string): Promise<OwnMount | undefined> {
  const entry = mountOf(await readMountTable(), path)
  const plain = await plainMountAround(path)
  // Something may be mounted inside the tree: the path is in that then.
  if (plain !== undefined && (entry === undefined || isWithin(rootOf(plain), entry.mountpoint))) {
    return plain
  }
  return entry === undefined ? undefined : ownMountOf(entry)
}
