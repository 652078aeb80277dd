import type { CID } from 'multiformats/cid'
import { forEachConcurrently, ModelcacheError } from '../base/index.ts'
import {
  type DirectoryEntry,
  type GetBlock,
  listDirectory,
  type MetaEntry,
  readMeta,
  statNode,
} from '../dag/index.ts'
import { RAW_CODE } from '../ipfs/index.ts'
import type { PlaceholderRecord } from '../tree/index.ts'

interface ChildBase {
  name: string
  cid: CID
  /** Bytes of the child's whole DAG. */
  tsizeBytes: number
  mode: number
  mtimeNs: bigint
}

/** One name of a directory: what UnixFS and the meta block beside it say together. */
export type ChildEntry = ChildBase &
  (
    | { type: 'f'; sizeBytes: number }
    | { type: 'd'; sizeBytes: number; metaCid?: CID | undefined }
    | { type: 'l'; sizeBytes: number; target: string }
  )

/** What a tree without modes gets. */
const BARE_FILE_MODE = 0o644
const BARE_DIRECTORY_MODE = 0o755
/** A directory that somebody else made may hold any number of nodes to be asked for. */
const STATS_AT_A_TIME = 16
/** Codes of errors for a node that is not what a name can stand for. */
const BAD_NODES = ['malformed-node', 'not-unixfs']
/** More names than this in one directory are refused: they are held in memory to be created. */
const MAX_ENTRIES = 4_000_000
/** The largest file of ext4 with blocks of 4 KiB: a size that is a lie must not stop the names beside it. */
const MAX_FILE_BYTES = 2 ** 44 - 4096

/**
 * All entries of a directory, in the order of its nodes. Without a meta block (bare UnixFS), or
 * for a name that it lacks, the node itself says what it is; mtime is then that of the directory.
 *
 * @param skipped - called for an entry that cannot be shown here
 */
export async function directoryContent(
  getBlock: GetBlock,
  record: PlaceholderRecord,
  skipped: (name: string, reason: string) => void,
): Promise<ChildEntry[]> {
  const meta = await metaByName(getBlock, record.metaCid)
  const links: DirectoryEntry[] = []
  const options = { onRefused: skipped }
  for await (const link of listDirectory(getBlock, record.cid, undefined, options)) {
    links.push(link)
    if (links.length > MAX_ENTRIES) {
      throw new ModelcacheError(`${record.cid}: more than ${MAX_ENTRIES} entries`, {
        code: 'directory-too-large',
        errno: 'EFBIG',
      })
    }
  }
  const children = new Map<string, ChildEntry>()
  const bare: DirectoryEntry[] = []
  for (const link of links) {
    const described = meta.get(link.name)
    if (described === undefined) {
      bare.push(link)
    } else {
      const child = withMeta(link, described)
      if (child === undefined) {
        skipped(link.name, 'a link without a target')
      } else {
        children.set(link.name, child)
      }
    }
  }
  await forEachConcurrently(bare, STATS_AT_A_TIME, async (link) => {
    try {
      children.set(link.name, await withoutMeta(getBlock, link, record.mtimeNs))
    } catch (error) {
      // Its bytes are verified and are no file, directory or link: no other source has better ones.
      if (!(error instanceof ModelcacheError && BAD_NODES.includes(error.code))) {
        throw error
      }
      skipped(link.name, error.message)
    }
  })
  for (const { name, sizeBytes } of children.values()) {
    if (sizeBytes > MAX_FILE_BYTES) {
      children.delete(name)
      skipped(name, `a file of ${sizeBytes} bytes, and ext4 holds ${MAX_FILE_BYTES}`)
    }
  }
  return [...children.values()]
}

async function metaByName(
  getBlock: GetBlock,
  metaCid: CID | undefined,
): Promise<Map<string, MetaEntry>> {
  const entries = new Map<string, MetaEntry>()
  if (metaCid !== undefined) {
    for await (const entry of readMeta(getBlock, metaCid)) {
      entries.set(entry.name, entry)
    }
  }
  return entries
}

function withMeta(link: DirectoryEntry, meta: MetaEntry): ChildEntry | undefined {
  const { mode, mtimeNs, sizeBytes, metaCid, target } = meta
  const base = { ...link, mode, mtimeNs, sizeBytes }
  if (meta.type === 'l') {
    return target === undefined ? undefined : { ...base, type: 'l', target }
  }
  return meta.type === 'f' ? { ...base, type: 'f' } : { ...base, type: 'd', metaCid }
}

async function withoutMeta(
  getBlock: GetBlock,
  link: DirectoryEntry,
  mtimeNs: bigint,
): Promise<ChildEntry> {
  // A raw leaf is a whole file, and its DAG is nothing but it: fetching it would only say so.
  const { type, sizeBytes, target } =
    link.cid.code === RAW_CODE
      ? { type: 'f' as const, sizeBytes: link.tsizeBytes, target: undefined }
      : await statNode(getBlock, link.cid)
  const mode = type === 'd' ? BARE_DIRECTORY_MODE : BARE_FILE_MODE
  const base = { ...link, mode, mtimeNs, sizeBytes }
  return type === 'l' ? { ...base, type, target: target ?? '' } : { ...base, type }
}
