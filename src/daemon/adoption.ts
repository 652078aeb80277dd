import { lstat, readdir } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import {
  type Clock,
  type Logger,
  ModelcacheError,
  messageOf,
  reached,
  withDeadline,
} from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import { type OpenedRoot, openRoot, parseRoot, rootNotFound } from '../hydrate/index.ts'
import {
  type InodeId,
  inodeIdOf,
  markUnlisted,
  type PlaceholderRecord,
  readRecord,
  type StorePaths,
} from '../tree/index.ts'
import type { CommitLog } from '../writeback/index.ts'

export interface AdoptionParts {
  paths: Pick<StorePaths, 'tree' | 'store'>
  log: CommitLog
  getBlock: GetBlock
  /** Loads what fetching needs, so that the deadline is the peers' alone. */
  prepare: () => Promise<unknown>
  flush: () => Promise<void>
  clock: Clock
  logger: Logger
  deadlineMs: number
}

/**
 * Makes a store begin from a root of somebody else: its tree becomes a directory that is listed
 * when it is first used, and the root the first line of the log. Does nothing for a store that
 * began from this root before.
 *
 * @returns the inode of the tree
 * @throws ModelcacheError `store-in-use` where the store holds other content, and what `openRoot`
 *   throws
 */
export async function adoptRoot(from: string, parts: AdoptionParts): Promise<InodeId> {
  const cid = parseRoot(from)
  const { log, paths } = parts
  const id = inodeIdOf(await lstat(paths.tree, { bigint: true }))
  if (log.adopted()?.equals(cid)) {
    return id
  }
  const record = readRecord(paths.tree)
  const started = record !== undefined && (record.commitCid ?? record.cid).equals(cid)
  if (log.current() !== undefined || (!started && !(await isEmptyTree(parts, record)))) {
    throw new ModelcacheError(
      `mount --from ${from}: the store ${paths.store} holds other content already; ` +
        'name another --store, or mount without --from',
      { code: 'store-in-use', exitCode: 1 },
    )
  }
  const root = await openInTime(cid, parts)
  await parts.flush()
  await adopt(cid, root, parts)
  return id
}

async function openInTime(cid: CID, parts: AdoptionParts): Promise<OpenedRoot> {
  const { clock, deadlineMs, getBlock } = parts
  await parts.prepare()
  const signal = withDeadline(undefined, deadlineMs, clock)
  try {
    return await openRoot(cid, getBlock, { signal, clock })
  } catch (cause) {
    if (!signal.aborted) {
      throw cause
    }
    throw rootNotFound(cid, messageOf(signal.reason), cause)
  }
}

/** The record comes first: a log line without it would turn the empty tree into the next root. */
async function adopt(cid: CID, root: OpenedRoot, parts: AdoptionParts): Promise<void> {
  const { tree, meta, commit, rootMode, rootMtimeNs, sequence } = root
  const { clock, log, logger, paths } = parts
  await markUnlisted(paths.tree, {
    kind: 'directory',
    cid: tree,
    metaCid: meta,
    commitCid: commit,
    mode: rootMode,
    sizeBytes: 0,
    mtimeNs: rootMtimeNs,
  })
  reached('adopt.marked')
  const at = clock.now()
  await log.append({ root: cid, tree, meta, rootMode, rootMtimeNs, sequence, at, adopted: true })
  reached('adopt.logged')
  logger.info('began from a root', { root: cid.toString(), tree: tree.toString() })
}

async function isEmptyTree(
  { paths }: AdoptionParts,
  record: PlaceholderRecord | undefined,
): Promise<boolean> {
  return record === undefined && (await readdir(paths.tree)).length === 0
}
