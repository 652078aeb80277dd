import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachConcurrently, type Logger, ModelcacheError, reached } from '../base/index.ts'
import {
  clearUnlisted,
  completePlaceholder,
  createPlaceholders,
  type Database,
  type InodeId,
  inodeIdOf,
  type PlaceholderEntry,
  type PlaceholderRecord,
  readRecord,
  type StorePaths,
  sameInode,
} from '../tree/index.ts'
import { tsizeOf } from './completed-file.ts'
import { type ChildEntry, directoryContent } from './directory-content.ts'
import type { Patience } from './patience.ts'
import type { Sources } from './sources.ts'
import { openPlace, shownPath, stale, type TreePath } from './tree-path.ts'

export interface ListComponents {
  paths: Pick<StorePaths, 'staging'>
  database: Pick<Database, 'files' | 'directories' | 'sync'>
  nodes: { flush(): Promise<void> }
  sources: Pick<Sources, 'getBlock'>
  logger: Logger
}

/** The directory to be listed, and how to reach it. */
export interface ListTarget {
  path: TreePath
  place: string | Buffer
  /** The place is a link of /proc to an open directory. */
  follow: boolean
  id: InodeId
}

/** Empty files that are finished at a time; each costs two fsyncs. */
const EMPTY_FILES_AT_A_TIME = 8

/**
 * Gives an unlisted directory its entries: files and directories as placeholders, links as they
 * are, empty files complete. In this order, each durable before the next: nodes, entries, rows,
 * and last the record of the directory goes. So a crash anywhere leaves an unlisted directory
 * that is listed again, by name.
 */
export async function listUnlisted(
  components: ListComponents,
  target: ListTarget,
  patience: Patience,
): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY
  const handle = await openPlace(target.place, flags, target.follow)
  try {
    if (!sameInode(inodeIdOf(await handle.stat({ bigint: true })), target.id)) {
      throw stale(target.path)
    }
    const record = readRecord(handle.fd)
    if (record?.kind === 'file') {
      throw new ModelcacheError(`${record.cid}: a directory has the record of a file`, {
        code: 'malformed',
        errno: 'EIO',
      })
    }
    if (record !== undefined) {
      // The dot makes calls that do not follow links act on the directory, not on /proc's link.
      await listRecord(components, target, record, `/proc/self/fd/${handle.fd}/.`, patience)
    }
  } finally {
    await handle.close()
  }
}

async function listRecord(
  components: ListComponents,
  target: ListTarget,
  record: PlaceholderRecord,
  dir: string,
  patience: Patience,
): Promise<void> {
  const { sources, database, paths, logger } = components
  const patient = {
    getBlock: (cid: PlaceholderRecord['cid']) =>
      patience.persist(() => sources.getBlock(cid, patience.signal)),
  }
  const children = await directoryContent(patient.getBlock, record, (name, reason) => {
    logger.warn('an entry was left out', {
      path: shownPath(target.path),
      cid: record.cid.toString(),
      name,
      reason,
    })
  })
  const tsizeBytes = await tsizeOf(patient, record.cid, record.sizeBytes)
  await components.nodes.flush()
  const entries = children.map((child) => placeholderOf(child, record))
  await createPlaceholders(dir, entries, { staging: paths.staging })
  reached('list.created')
  const empty = children.filter((child) => child.type === 'f' && child.sizeBytes === 0)
  await forEachConcurrently(empty, EMPTY_FILES_AT_A_TIME, (child) =>
    completeEmpty(database, dir, child),
  )
  const { cid, metaCid, mode, mtimeNs } = record
  await database.directories.put(target.id, {
    cid,
    metaCid,
    tsizeBytes,
    mode,
    mtimeNs,
    carried: [],
  })
  await database.sync()
  reached('list.row')
  await clearUnlisted(dir)
  reached('list.done')
}

function placeholderOf(child: ChildEntry, parent: PlaceholderRecord): PlaceholderEntry {
  const { name, cid, mode, mtimeNs } = child
  if (child.type === 'l') {
    return { type: 'l', name, target: child.target, mtimeNs }
  }
  if (child.type === 'f') {
    // Without a commit the record fits into an ext4 inode of 256 bytes (docs/decisions/
    // placeholder-record-size.md); with one, every placeholder would cost a block of 4 KiB.
    const { sizeBytes } = child
    return { type: 'f', name, record: { kind: 'file', cid, mode, mtimeNs, sizeBytes } }
  }
  const { metaCid } = child
  const { commitCid } = parent
  // Of a directory the record keeps the size of its DAG: its parent's next node needs it.
  const sizeBytes = child.tsizeBytes
  return {
    type: 'd',
    name,
    record: { kind: 'directory', cid, metaCid, commitCid, mode, mtimeNs, sizeBytes },
  }
}

/** A file without bytes has nothing to be fetched: it is complete from the start, and clean. */
async function completeEmpty(
  database: Pick<Database, 'files'>,
  dir: string,
  child: ChildEntry,
): Promise<void> {
  const handle = await open(join(dir, child.name), constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    const record = readRecord(handle.fd)
    // Another file has the name, or an earlier listing got this far.
    if (record === undefined || record.sizeBytes !== 0) {
      return
    }
    const stamp = await completePlaceholder(handle.fd, record)
    const id = inodeIdOf(await handle.stat({ bigint: true }))
    const { cid, tsizeBytes } = child
    await database.files.put(id, { stamp, cid, tsizeBytes, oid: null })
  } finally {
    await handle.close()
  }
}
