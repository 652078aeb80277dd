import { link, lstat, open, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { CID } from 'multiformats/cid'
import { createLogger, isErrno } from '../../src/base/index.ts'
import {
  type CacheBlockstore,
  createCacheBlockstore,
  createNodeStore,
  type NodeStore,
} from '../../src/blocks/index.ts'
import {
  buildDirectory,
  buildMeta,
  type DirectoryEntry,
  encodeCommit,
  importFile,
  type MetaEntry,
  type PutNode,
  symlinkNode,
} from '../../src/dag/index.ts'
import { createShare, ipnsNameOf, type Share } from '../../src/share/index.ts'
import {
  createStore,
  type Database,
  inodeIdOf,
  openDatabase,
  type StorePaths,
  stampOf,
} from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

export const logger = createLogger({
  level: process.env.MODELCACHE_TEST_LOG === undefined ? 'error' : 'debug',
  write: (line) => process.stderr.write(line),
})
/** For tests that provoke what is logged. */
export const silent = createLogger({ level: 'error', write: () => undefined })

/** A store with its database and blocks: half of a daemon. */
export interface Store {
  paths: StorePaths
  database: Database
  nodes: NodeStore
  blocks: CacheBlockstore
}

export async function openStore(t: TestContext): Promise<Store> {
  const paths = await createStore(join(tempDir(t), 'store'))
  const database = await openDatabase(paths.db)
  t.after(() => database.close())
  const nodes = createNodeStore(paths.nodes)
  const blocks = createCacheBlockstore({
    nodes,
    leaves: database.leaves,
    objectsDir: paths.objects,
  })
  return { paths, database, nodes, blocks }
}

/** A machine that has files, commits them and shares them. */
export interface Origin extends Store {
  share: Share
  /** The commits, newest first. */
  roots: CID[]
  /** Commits what is in the tree now. */
  commit(): Promise<{ root: CID; tree: CID }>
  /** Settles one file without putting it into a commit. */
  settle(path: string): Promise<{ cid: CID; tsizeBytes: number }>
}

export async function openOrigin(t: TestContext): Promise<Origin> {
  const store = await openStore(t)
  const roots: CID[] = []
  let current: { root: CID; tree: CID; meta: CID; sequence: number } | undefined
  const share = shareOf(store, roots, () =>
    current === undefined
      ? undefined
      : {
          root: current.root.toString(),
          tree: current.tree.toString(),
          meta: current.meta.toString(),
          sequence: current.sequence,
          committedAt: new Date(0).toISOString(),
        },
  )
  t.after(() => share.close())
  const putNode: PutNode = async (cid, bytes) => {
    await store.nodes.put(cid, bytes)
  }
  return {
    ...store,
    share,
    roots,
    settle: (path) => settleFile(store, join(store.paths.tree, path), putNode),
    async commit() {
      const { tree, meta, stats } = await commitDirectory(store, store.paths.tree, putNode)
      const sequence = roots.length + 1
      const { cid, bytes } = encodeCommit({
        tree,
        meta,
        rootMode: Number(stats.mode) & 0o7777,
        rootMtimeNs: stats.mtimeNs,
        parents: roots.slice(0, 1),
        sequence,
        key: new Uint8Array(32),
      })
      await putNode(cid, bytes)
      roots.unshift(cid)
      current = { root: cid, tree, meta, sequence }
      return { root: cid, tree }
    },
  }
}

export function shareOf(
  store: Store,
  roots: readonly CID[],
  currentRoot: Parameters<typeof createShare>[0]['currentRoot'],
): Share {
  return createShare({
    getBlock: (cid, signal) => store.blocks.getBytes(cid, signal),
    getNode: (cid) => nodeOf(store, cid),
    filesWithLeaf: async (digest) => {
      const places = await store.database.leaves.find(digest)
      const rows = await Promise.all(places.map(({ oid }) => store.database.objects.get(oid)))
      return rows.flatMap((row) => (row === undefined ? [] : [row.cid]))
    },
    isSecret: async () => false,
    roots: () => roots,
    currentRoot,
    file: store.paths.share,
    name: ipnsNameOf(new Uint8Array(32)),
    logger: silent,
  })
}

async function nodeOf(store: Store, cid: CID): Promise<Uint8Array | undefined> {
  try {
    return await store.nodes.getBytes(cid)
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFoundError') {
      return undefined
    }
    throw error
  }
}

async function commitDirectory(store: Store, dir: string, putNode: PutNode) {
  const entries: DirectoryEntry[] = []
  const metas: MetaEntry[] = []
  for (const name of await readdir(dir)) {
    const path = join(dir, name)
    const stats = await lstat(path, { bigint: true })
    const mode = Number(stats.mode) & 0o7777
    const base = { name, mode, mtimeNs: stats.mtimeNs, sizeBytes: Number(stats.size) }
    if (stats.isSymbolicLink()) {
      const target = await readlink(path)
      const { cid, bytes, tsizeBytes } = symlinkNode(target)
      await putNode(cid, bytes)
      entries.push({ name, cid, tsizeBytes })
      metas.push({ ...base, type: 'l', target })
    } else if (stats.isDirectory()) {
      const { tree, meta, tsizeBytes } = await commitDirectory(store, path, putNode)
      entries.push({ name, cid: tree, tsizeBytes })
      metas.push({ ...base, type: 'd', metaCid: meta })
    } else {
      entries.push({ name, ...(await settleFile(store, path, putNode)) })
      metas.push({ ...base, type: 'f' })
    }
  }
  const { cid, tsizeBytes } = await buildDirectory(entries, putNode)
  const meta = await buildMeta(metas, putNode)
  return { tree: cid, meta, tsizeBytes, stats: await lstat(dir, { bigint: true }) }
}

async function settleFile(store: Store, path: string, putNode: PutNode) {
  const { database, paths } = store
  const handle = await open(path, 'r')
  try {
    const before = await handle.stat({ bigint: true })
    const { cid, tsizeBytes, leaves } = await importFile(handle, Number(before.size), { putNode })
    const id = inodeIdOf(before)
    const oid = (await database.objects.objectOf(id)) ?? (await database.objects.nextOid())
    await link(path, join(paths.objects, oid.toString())).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST')) {
        throw error
      }
    })
    await database.leaves.put(oid, leaves)
    const stamp = stampOf(await handle.stat({ bigint: true }))
    await database.files.put(id, { stamp, cid, tsizeBytes, oid })
    return { cid, tsizeBytes }
  } finally {
    await handle.close()
  }
}
