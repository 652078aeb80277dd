import { randomBytes } from 'node:crypto'
import { constants, fsyncSync } from 'node:fs'
import { copyFile, lstat, mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fsyncDirectory, linkFd } from '../base/index.ts'
import {
  createPlaceholders,
  type Database,
  inodeIdOf,
  type StorePaths,
  sameInode,
  stampOf,
} from '../tree/index.ts'
import type { KeptFiles } from './kept-files.ts'
import type { WantedFile } from './restore-plan.ts'

/** The folder in the tree from which files get their names; the table of local-only names has it. */
export const RESTORE_PREFIX = '.modelcache-restore-'

export interface StagingParts {
  paths: Pick<StorePaths, 'tree' | 'objects' | 'staging'>
  database: Pick<Database, 'files' | 'objects'>
  keptFiles: Pick<KeptFiles, 'objectOf'>
  /** Bytes that are not here can be fetched when they are read. */
  canFetch: boolean
}

/**
 * Puts the wanted files into a folder of the tree, named by their numbers: as a link to the very
 * file where nobody else needs it, else as a copy, and as a placeholder where the bytes are remote.
 *
 * @returns the folder's name, and the paths whose bytes nobody has
 */
export async function stageFiles(
  wanted: readonly WantedFile[],
  parts: StagingParts,
  signal?: AbortSignal,
): Promise<{ folder: string; missing: string[] }> {
  const folder = `${RESTORE_PREFIX}${randomBytes(8).toString('hex')}`
  const place = join(parts.paths.tree, folder)
  await mkdir(place, 0o700)
  const missing: string[] = []
  for (const [number, file] of wanted.entries()) {
    signal?.throwIfAborted()
    if (!(await stageOne(join(place, String(number)), place, number, file, parts))) {
      missing.push(file.path)
    }
  }
  await fsyncDirectory(place)
  return { folder, missing }
}

async function stageOne(
  path: string,
  folder: string,
  number: number,
  { entry, movedFrom }: WantedFile,
  parts: StagingParts,
): Promise<boolean> {
  const oid = await parts.keptFiles.objectOf(entry.cid)
  if (oid !== undefined) {
    await stageObject(path, join(parts.paths.objects, oid.toString()), movedFrom, parts)
    return true
  }
  if (!parts.canFetch) {
    return false
  }
  const { cid, mode, mtimeNs, sizeBytes } = entry
  const record = { kind: 'file' as const, cid, mode, mtimeNs, sizeBytes }
  const placeholder = { type: 'f' as const, name: String(number), record }
  await createPlaceholders(folder, [placeholder], { staging: parts.paths.staging })
  return true
}

/** The file itself where its names are none, or the one that is removed by the same restoring. */
async function stageObject(
  path: string,
  object: string,
  movedFrom: string | undefined,
  { database, paths }: StagingParts,
): Promise<void> {
  const handle = await open(object, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const before = await handle.stat({ bigint: true })
    const moved =
      movedFrom === undefined
        ? undefined
        : await lstat(join(paths.tree, movedFrom), { bigint: true })
    const isMoved = moved !== undefined && sameInode(inodeIdOf(moved), inodeIdOf(before))
    if (before.nlink === 1n || (before.nlink === 2n && isMoved)) {
      linkFd(handle.fd, path)
      const after = await handle.stat({ bigint: true })
      // The row may be of before the last name went: the bytes are what it says all the same.
      const row = await database.files.get(inodeIdOf(after))
      if (row !== undefined) {
        await database.files.renewStamp(inodeIdOf(after), row.stamp, stampOf(after))
      }
      return
    }
  } finally {
    await handle.close()
  }
  await copyFile(object, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  const copy = await open(path, constants.O_RDONLY)
  try {
    fsyncSync(copy.fd)
  } finally {
    await copy.close()
  }
}

/** Removes what restorings left over that were interrupted. */
export async function removeRestoreFolders(tree: string): Promise<void> {
  for (const name of await readdir(tree)) {
    if (name.startsWith(RESTORE_PREFIX)) {
      await rm(join(tree, name), { recursive: true, force: true })
    }
  }
}
