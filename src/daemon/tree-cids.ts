import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, lstat, open, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { symlinkNode } from '../dag/index.ts'
import { printableName, type Subject } from '../mount/index.ts'
import {
  type Database,
  inodeIdOf,
  type PlaceholderRecord,
  readRecord,
  type StorePaths,
  sameInode,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import type { Committer, Settler } from '../writeback/index.ts'

export interface TreeCidParts {
  paths: Pick<StorePaths, 'tree'>
  database: Pick<Database, 'files'>
  committer: Pick<Committer, 'directoryCid'>
  settler: Pick<Settler, 'told'>
}

/**
 * The UnixFS CID of a name in the tree, as it is now.
 *
 * @throws ModelcacheError `dirty` (errno ENODATA, exit code 4) for what is not settled, ENOENT
 *   for what is not there
 */
export async function cidOf(path: string, parts: TreeCidParts): Promise<CID> {
  const place = join(parts.paths.tree, path)
  const stats = await statOf(lstat, place, path)
  return stats.isSymbolicLink() ? linkCid(place) : cidAt(place, path, stats, parts)
}

/**
 * The same for the inode that the engine asks about, whatever its name is by now.
 *
 * @throws as `cidOf`
 */
export async function cidOfSubject({ path, id, at }: Subject, parts: TreeCidParts): Promise<CID> {
  if (typeof path !== 'string') {
    throw dirty(printableName(path), 'UnixFS cannot carry its name')
  }
  const named = join(parts.paths.tree, path)
  const place = at ?? named
  // By a descriptor the path is a link of /proc, which is followed to the inode and no further.
  const stats = await statOf(at === undefined ? lstat : stat, place, path)
  if (!sameInode(id, inodeIdOf(stats))) {
    throw missing(path)
  }
  return stats.isSymbolicLink() ? linkCid(named) : cidAt(place, path, stats, parts)
}

async function linkCid(place: string): Promise<CID> {
  return symlinkNode(await readlink(place)).cid
}

async function cidAt(
  place: string,
  path: string,
  stats: BigIntStats,
  parts: TreeCidParts,
): Promise<CID> {
  const record = stats.isFile() || stats.isDirectory() ? await recordAt(place) : undefined
  if (record !== undefined) {
    return record.cid
  }
  const id = inodeIdOf(stats)
  if (stats.isDirectory()) {
    const { cid, open } = await parts.committer.directoryCid(path, id)
    if (cid === undefined || open !== undefined) {
      throw dirty(path, open === undefined ? 'it is in no root' : `${open.path}: ${open.reason}`)
    }
    return cid
  }
  await parts.settler.told(id)
  const row = await parts.database.files.get(id)
  if (row === undefined || !sameStamp(row.stamp, stampOf(stats))) {
    throw dirty(
      path,
      'it is not settled: it is open, or stays on this machine; see `modelcache commit`',
    )
  }
  return row.cid
}

/** Attributes are read of a descriptor: a link of /proc itself has none. */
async function recordAt(place: string): Promise<PlaceholderRecord | undefined> {
  const handle = await openIfAllowed(place)
  try {
    return handle && readRecord(handle.fd)
  } finally {
    await handle?.close()
  }
}

/** Undefined for what an ordinary user closed to himself: a placeholder can always be read. */
async function openIfAllowed(place: string): Promise<FileHandle | undefined> {
  try {
    return await open(place, constants.O_RDONLY)
  } catch (error) {
    if (isErrno(error, 'EACCES')) {
      return undefined
    }
    throw error
  }
}

type Stat = (path: string, options: { bigint: true }) => Promise<BigIntStats>

async function statOf(look: Stat, place: string, path: string): Promise<BigIntStats> {
  try {
    return await look(place, { bigint: true })
  } catch (error) {
    throw isErrno(error, 'ENOENT', 'ENOTDIR') ? missing(path) : error
  }
}

function missing(path: string): ModelcacheError {
  return new ModelcacheError(`cid ${path}: there is no such name in the mount`, {
    code: 'not-found',
    errno: 'ENOENT',
    exitCode: 1,
  })
}

function dirty(path: string, reason: string): ModelcacheError {
  return new ModelcacheError(`cid ${path || '.'}: ${reason}`, {
    code: 'dirty',
    errno: 'ENODATA',
    exitCode: 4,
  })
}
