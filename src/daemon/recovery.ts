import { lstat, opendir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno, type Logger } from '../base/index.ts'
import {
  bootId,
  type Database,
  forgetUnseen,
  type InodeId,
  inodeIdOf,
  type StorePaths,
  sameInode,
  unseenSince,
} from '../tree/index.ts'

/** What an unclean stop left over. */
export interface LeftOvers {
  /** Objects that belong to no row: nobody would ever drop them. */
  strayOids: bigint[]
  /** Inodes whose object is their only name. */
  nameless: InodeId[]
}

/** Decimal, as the keeper writes it; anything else in `objects/` is not ours to touch. */
const OID_NAME = /^[1-9][0-9]{0,15}$/
const DIRTY_LINE = /^(\d+) (\d+)$/

/** Deletes the rows of all files that the dirty log names; a torn last line is ignored. */
export async function forgetDirtyRows(
  paths: Pick<StorePaths, 'dirtyLog'>,
  database: Pick<Database, 'files'>,
): Promise<number> {
  let count = 0
  const lines = (await readText(paths.dirtyLog)).split('\n')
  lines.pop()
  for (const line of lines) {
    const [, ino, btime] = DIRTY_LINE.exec(line) ?? []
    if (ino !== undefined && btime !== undefined) {
      await database.files.delete({ ino: BigInt(ino), btimeNs: BigInt(btime) })
      count += 1
    }
  }
  return count
}

/**
 * Deletes all rows when programs may have written unseen before the machine last started: without
 * an engine nobody notes what is opened, and fdatasync followed by a power cut brings back old
 * times with new content (docs/decisions/without-an-engine.md). Done once: the mark is emptied, so
 * that a daemon that is started again trusts the rows that were made since.
 *
 * @returns how many rows went
 */
export async function forgetUnseenRows(
  paths: Pick<StorePaths, 'unclean'>,
  database: Pick<Database, 'files' | 'sync'>,
): Promise<number> {
  const since = unseenSince(paths)
  if (since === undefined || since === bootId()) {
    return 0
  }
  let count = 0
  for await (const [id] of database.files.entries()) {
    await database.files.delete(id)
    count += 1
  }
  await database.sync()
  forgetUnseen(paths)
  return count
}

/** Removes what never got its name. */
export async function emptyStaging(paths: Pick<StorePaths, 'staging'>): Promise<void> {
  for await (const { name } of await opendir(paths.staging)) {
    await rm(join(paths.staging, name), { recursive: true, force: true })
  }
}

/**
 * Makes the table and the folder `objects/` agree: rows without their object are deleted, objects
 * without a row are returned to be unlinked. Before anything settles: a new object has no row yet.
 */
export async function reconcileObjects(
  paths: Pick<StorePaths, 'objects'>,
  database: Pick<Database, 'files' | 'leaves' | 'objects'>,
  logger: Logger,
): Promise<LeftOvers> {
  const leftOvers: LeftOvers = { strayOids: [], nameless: [] }
  let highest = 0n
  for await (const { name } of await opendir(paths.objects)) {
    if (OID_NAME.test(name)) {
      const oid = BigInt(name)
      highest = oid > highest ? oid : highest
      await sortObject(paths.objects, oid, database, leftOvers)
    }
  }
  await database.objects.raiseOid(highest)
  const lost = await forgetLostObjects(paths.objects, database)
  const { strayOids, nameless } = leftOvers
  logger.info('objects compared with the table', {
    stray: strayOids.length,
    nameless: nameless.length,
    lost,
  })
  return leftOvers
}

async function sortObject(
  objectsDir: string,
  oid: bigint,
  database: Pick<Database, 'objects'>,
  leftOvers: LeftOvers,
): Promise<void> {
  const stats = await statObject(objectsDir, oid)
  const row = await database.objects.get(oid)
  if (stats === undefined) {
    return
  }
  if (row === undefined || !sameInode(row.id, inodeIdOf(stats))) {
    leftOvers.strayOids.push(oid)
  } else if (stats.nlink === 1n) {
    leftOvers.nameless.push(row.id)
  }
}

async function forgetLostObjects(
  objectsDir: string,
  database: Pick<Database, 'files' | 'leaves' | 'objects'>,
): Promise<number> {
  let count = 0
  for await (const { oid, id } of database.objects.entries()) {
    const stats = await statObject(objectsDir, oid)
    if (stats === undefined || !sameInode(id, inodeIdOf(stats))) {
      const row = await database.files.get(id)
      if (row?.oid === oid) {
        await database.files.delete(id)
      }
      await database.leaves.drop(oid)
      await database.objects.delete(oid)
      count += 1
    }
  }
  return count
}

async function statObject(objectsDir: string, oid: bigint) {
  try {
    return await lstat(join(objectsDir, oid.toString()), { bigint: true })
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return ''
    }
    throw error
  }
}
