import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { createCacheBlockstore, createNodeStore } from '../../src/blocks/index.ts'
import { openDatabase, storePaths } from '../../src/tree/index.ts'

/** One name of a root, as anybody who walks plain UnixFS finds it. */
export interface RootEntry {
  path: string
  type: 'file' | 'directory' | 'link'
  cid: string
  target?: string
}

/** A line of the store's log of commits. */
export interface CommitLine {
  root: string
  tree: string
}

/** Reads the roots of a store that is not mounted, by its blocks and by nothing else. */
export interface OfflineRoots {
  /** Every root that was ever committed, oldest first. */
  commits: CommitLine[]
  /** The tree that a commit block names. */
  treeOf(root: string): Promise<string>
  walk(tree: string): Promise<RootEntry[]>
  /** The hash of a file's bytes with an optional prefix, as git and LFS name blobs. */
  digestsOf(cid: string): Promise<{ sizeBytes: number; sha256: string; gitSha1: string }>
  close(): Promise<void>
}

/** HAMT shards have two hex digits before the name; nothing else starts a link there. */
const SHARD_PREFIX_LENGTH = 2

export async function openOfflineRoots(store: string): Promise<OfflineRoots> {
  const paths = storePaths(store)
  const database = await openDatabase(paths.db)
  const blocks = createCacheBlockstore({
    nodes: createNodeStore(paths.nodes),
    leaves: database.leaves,
    objectsDir: paths.objects,
  })
  const digests = new Map<string, { sizeBytes: number; sha256: string; gitSha1: string }>()
  const directories = new Map<string, RootEntry[]>()
  const get = (cid: CID) => blocks.getBytes(cid)
  return {
    commits: readFileSync(paths.commits, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as CommitLine),
    treeOf: async (root) => {
      const commit = dagCbor.decode<{ tree: CID }>(await get(CID.parse(root)))
      return commit.tree.toString()
    },
    walk: (tree) => walk(get, CID.parse(tree), '', directories),
    digestsOf: async (text) => {
      const known = digests.get(text) ?? (await digestsOf(get, CID.parse(text)))
      digests.set(text, known)
      return known
    },
    close: () => database.close(),
  }
}

type Get = (cid: CID) => Promise<Uint8Array>

async function walk(
  get: Get,
  cid: CID,
  prefix: string,
  known: Map<string, RootEntry[]>,
): Promise<RootEntry[]> {
  const found: RootEntry[] = []
  const key = cid.toString()
  const entries = known.get(key) ?? (await list(get, cid))
  known.set(key, entries)
  for (const entry of entries) {
    const path = prefix === '' ? entry.path : `${prefix}/${entry.path}`
    found.push({ ...entry, path })
    if (entry.type === 'directory') {
      found.push(...(await walk(get, CID.parse(entry.cid), path, known)))
    }
  }
  return found
}

/** The entries of one directory, with its shards' where it is a HAMT. */
async function list(get: Get, cid: CID): Promise<RootEntry[]> {
  const node = dagPb.decode(await get(cid))
  const { type } = UnixFS.unmarshal(node.Data ?? new Uint8Array())
  const entries: RootEntry[] = []
  for (const link of node.Links) {
    const name = link.Name ?? ''
    if (type === 'hamt-sharded-directory') {
      if (name.length === SHARD_PREFIX_LENGTH) entries.push(...(await list(get, link.Hash)))
      else entries.push(await describe(get, link.Hash, name.slice(SHARD_PREFIX_LENGTH)))
    } else {
      entries.push(await describe(get, link.Hash, name))
    }
  }
  return entries
}

async function describe(get: Get, cid: CID, path: string): Promise<RootEntry> {
  const text = cid.toString()
  if (cid.code === raw.code) return { path, type: 'file', cid: text }
  const node = UnixFS.unmarshal(dagPb.decode(await get(cid)).Data ?? new Uint8Array())
  if (node.type === 'symlink') {
    const target = new TextDecoder().decode(node.data)
    return { path, type: 'link', cid: text, target }
  }
  return { path, type: node.isDirectory() ? 'directory' : 'file', cid: text }
}

async function digestsOf(get: Get, cid: CID) {
  const pieces: Uint8Array[] = []
  for await (const piece of bytesOf(get, cid)) pieces.push(piece)
  const content = Buffer.concat(pieces)
  return {
    sizeBytes: content.length,
    sha256: createHash('sha256').update(content).digest('hex'),
    gitSha1: createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex'),
  }
}

async function* bytesOf(get: Get, cid: CID): AsyncGenerator<Uint8Array> {
  const block = await get(cid)
  if (cid.code === raw.code) {
    yield block
    return
  }
  for (const link of dagPb.decode(block).Links) yield* bytesOf(get, link.Hash)
}
