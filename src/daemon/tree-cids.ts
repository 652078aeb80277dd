import { lstat, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { symlinkNode } from '../dag/index.ts'
import { printableName, type WireName } from '../mount/index.ts'
import {
  type Database,
  type InodeId,
  inodeIdOf,
  readRecord,
  type StorePaths,
  sameInode,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import type { Committer } from '../writeback/index.ts'

export interface TreeCidParts {
  paths: Pick<StorePaths, 'tree'>
  database: Pick<Database, 'files'>
  committer: Pick<Committer, 'directoryCid'>
}

/**
 * The UnixFS CID of a name in the tree, as it is now.
 *
 * @param id when given, the name must still be that inode's
 * @throws ModelcacheError `dirty` (errno ENODATA, exit code 4) for what is not settled, ENOENT
 *   for what is not there
 */
export async function cidOf(path: WireName, parts: TreeCidParts, id?: InodeId): Promise<CID> {
  if (typeof path !== 'string') {
    throw dirty(printableName(path), 'UnixFS cannot carry its name')
  }
  const place = join(parts.paths.tree, path)
  const stats = await statOf(place, path)
  if (id !== undefined && !sameInode(id, inodeIdOf(stats))) {
    throw missing(path)
  }
  if (stats.isSymbolicLink()) {
    return symlinkNode(await readlink(place)).cid
  }
  const record = stats.isFile() || stats.isDirectory() ? readRecord(place) : undefined
  if (record !== undefined) {
    return record.cid
  }
  if (stats.isDirectory()) {
    const { cid, open } = await parts.committer.directoryCid(path, inodeIdOf(stats))
    if (cid === undefined || open !== undefined) {
      throw dirty(path, open === undefined ? 'it is in no root' : `${open.path}: ${open.reason}`)
    }
    return cid
  }
  const row = await parts.database.files.get(inodeIdOf(stats))
  if (row === undefined || !sameStamp(row.stamp, stampOf(stats))) {
    throw dirty(path, 'it is not settled')
  }
  return row.cid
}

async function statOf(place: string, path: string) {
  try {
    return await lstat(place, { bigint: true })
  } catch (error) {
    throw isErrno(error, 'ENOENT', 'ENOTDIR') ? missing(path) : error
  }
}

function missing(path: string): ModelcacheError {
  return new ModelcacheError(`cid ${path}: it is not in the mount`, {
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
