import { lstat, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { CID } from 'multiformats/cid'
import type { Logger } from '../../src/base/index.ts'
import {
  type CompletedFile,
  createHydrator,
  type HydrateLimits,
  type Hydrator,
  openRoot,
} from '../../src/hydrate/index.ts'
import { createNetwork, type FetchLimits, type Network } from '../../src/ipfs/index.ts'
import {
  ExtentMap,
  type InodeId,
  inodeIdOf,
  markUnlisted,
  readRecord,
} from '../../src/tree/index.ts'
import { openStore, type Store, silent } from './origin.ts'

export interface Follower extends Store {
  network: Network
  hydrator: Hydrator
  completed: { path: string; id: InodeId; file: CompletedFile }[]
  at(path: string): string
  id(path: string): Promise<InodeId>
  list(path: string): Promise<void>
  /** Lists everything below the root. */
  listAll(): Promise<void>
  fill(path: string, offset: number, length: number): Promise<{ complete: boolean }>
  /** The bytes of a file as it is on disk, without fetching. */
  onDisk(path: string, offset: number, length: number): Promise<Buffer>
  /** Extents that are recorded as present. */
  extents(path: string): Promise<ExtentMap>
}

export interface FollowerOptions {
  limits?: Partial<HydrateLimits>
  fetchLimits?: Partial<FetchLimits>
  logger?: Logger
  /** A store that another follower has used. */
  store?: Store
}

/** A second machine whose tree is opened from a root. */
export async function openFollower(
  t: TestContext,
  peers: readonly string[],
  options: FollowerOptions = {},
): Promise<Follower> {
  const store = options.store ?? (await openStore(t))
  const logger = options.logger ?? silent
  const fetchLimits = { firstByteMs: 3_000, stallMs: 3_000, ...options.fetchLimits }
  const network = createNetwork({ blockstore: store.blocks, peers, logger }, fetchLimits)
  const completed: Follower['completed'] = []
  const hydrator = createHydrator(
    {
      ...store,
      sources: network,
      logger,
      async onComplete(path, id, file) {
        completed.push({ path: path.toString(), id, file })
      },
    },
    { deadlineMs: 15_000, idleMs: 50, ...options.limits },
  )
  // Our timers do not keep a process alive; a daemon has its sockets for that.
  const alive = setInterval(() => undefined, 60_000)
  t.after(async () => {
    clearInterval(alive)
    await hydrator.close()
    await network.close()
  })
  const at = (path: string) => join(store.paths.tree, path)
  const id = async (path: string) => inodeIdOf(await lstat(at(path), { bigint: true }))
  const list = async (path: string) => hydrator.list(path, await id(path))
  return {
    ...store,
    network,
    hydrator,
    completed,
    at,
    id,
    list,
    listAll: () => listBelow('', { at, list }),
    fill: async (path, offset, length) => hydrator.fill(path, await id(path), offset, length),
    async onDisk(path, offset, length) {
      const handle = await open(at(path))
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset)
        return buffer.subarray(0, bytesRead)
      } finally {
        await handle.close()
      }
    },
    async extents(path) {
      const { size } = await lstat(at(path))
      return ExtentMap.open(store.paths.extents, await id(path), size)
    },
  }
}

/** Makes the tree of a follower that of a root, as the daemon does it. */
export async function followRoot(follower: Follower, root: CID): Promise<void> {
  const opened = await openRoot(root, (cid, signal) => follower.network.getBlock(cid, signal))
  await markUnlisted(follower.paths.tree, {
    kind: 'directory',
    cid: opened.tree,
    metaCid: opened.meta,
    commitCid: opened.commit,
    mode: opened.rootMode,
    mtimeNs: opened.rootMtimeNs,
    sizeBytes: 0,
  })
}

async function listBelow(path: string, follower: Pick<Follower, 'at' | 'list'>): Promise<void> {
  await follower.list(path)
  for (const entry of await readdir(follower.at(path), { withFileTypes: true })) {
    if (entry.isDirectory()) {
      await listBelow(join(path, entry.name), follower)
    }
  }
}

/** Fills every placeholder below a listed tree. */
export async function fillAll(follower: Follower): Promise<void> {
  const root = follower.paths.tree
  for (const entry of await readdir(root, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name).slice(root.length + 1)
    if (entry.isFile() && readRecord(follower.at(path)) !== undefined) {
      const { size } = await lstat(follower.at(path))
      await follower.fill(path, 0, size)
    }
  }
}
