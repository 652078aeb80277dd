import { release } from 'node:os'
import { type Clock, delay, type Logger, statfsType } from '../base/index.ts'
import {
  type CacheBlockstore,
  createCacheBlockstore,
  createNodeStore,
  type NodeStore,
} from '../blocks/index.ts'
import type { DaemonConfig } from '../config/index.ts'
import {
  type CompletedFile,
  createHydrator,
  type Hydrator,
  type Sources,
} from '../hydrate/index.ts'
import { createNetwork, type Network } from '../ipfs/index.ts'
import type { Engine, Hello, WireName } from '../mount/index.ts'
import { createShare, ipnsNameOf, type Share } from '../share/index.ts'
import {
  createNameClassifier,
  type Database,
  type InodeId,
  openDatabase,
  type StorePaths,
} from '../tree/index.ts'
import {
  CommitLog,
  Committer,
  NameRules,
  OrphanCollector,
  publicKeyOf,
  SettleQueue,
  Settler,
} from '../writeback/index.ts'
import { createSources, localBlock } from './block-sources.ts'
import { CensusTaker } from './census.ts'
import { peersOf } from './peers-file.ts'

/** All parts of a daemon, wired. */
export interface Services {
  paths: StorePaths
  database: Database
  nodes: NodeStore
  sources: Sources
  network: Network | undefined
  names: NameRules
  settler: Settler
  queue: SettleQueue
  orphans: OrphanCollector
  log: CommitLog
  committer: Committer
  hydrator: Hydrator
  share: Share | undefined
  census: CensusTaker
}

export interface ServiceContext {
  hello: Hello
  config: DaemonConfig
  engine: Engine
  paths: StorePaths
  clock: Clock
  logger: Logger
  /** What must be true is not: the daemon ends, and the next one recovers. */
  onFatal(error: unknown): void
}

/** The last daemon of this store may still be ending. */
const DATABASE_WAIT_MS = 5000
const DATABASE_RETRY_MS = 50
/** Kernel 6.13 gave these file systems multigrain timestamps (Documentation/filesystems/multigrain-ts). */
const MULTIGRAIN_KERNEL: readonly [number, number] = [6, 13]
const MULTIGRAIN_FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs', 'tmpfs']
/** Descriptors of the fetch may be open a moment longer than the fetch. */
const ADOPT_RETRY_MS = [50, 200, 1000, 5000] as const

/** Opens everything that a mount needs of its store; `closeServices` undoes it. */
export async function openServices(context: ServiceContext): Promise<Services> {
  const { clock, config, engine, hello, logger, onFatal, paths } = context
  const database = await openDatabaseSoon(paths, clock)
  const nodes = createNodeStore(paths.nodes)
  await nodes.open()
  const { leaves } = database
  const blockstore = createCacheBlockstore({ nodes, leaves, objectsDir: paths.objects })
  const network = config.gate.open
    ? createNetwork({
        blockstore,
        peers: await peersOf(paths.sources, config.peers),
        logger,
        clock,
      })
    : undefined
  const sources = createSources(blockstore, network, config.gate)
  const names = new NameRules(database.secrets, createNameClassifier(config.localOnlyPatterns))
  const log = await CommitLog.open(paths.commits)
  const settler: Settler = new Settler({
    engine,
    database,
    nodes,
    treeDir: paths.tree,
    exactStamps: await hasExactStamps(paths.tree),
    clock,
    logger,
    onFatal,
    onSettled: (id, fresh) => fresh && orphans.settled(id),
  })
  const orphans = new OrphanCollector({
    engine,
    database,
    objectsDir: paths.objects,
    logger,
    exclusive: (id, fn) => settler.exclusive(id, fn),
    onFatal,
  })
  const queue = new SettleQueue({ settle: (one) => settler.settle(one), names, clock, logger })
  const committer = new Committer({
    engine,
    database,
    nodes,
    settler,
    queue,
    names,
    orphans,
    log,
    getBlock: sources.getBlock,
    key: () => publicKeyOf(paths.key),
    mountpoint: hello.mountpoint,
    everything: !hello.clean || database.recovery !== 'none',
    clock,
    logger,
  })
  const hydrator = createHydrator(
    {
      paths,
      database,
      nodes,
      sources,
      onComplete: (path, id, file) => complete({ engine, settler, names, clock }, path, id, file),
      logger,
      clock,
    },
    { deadlineMs: config.fetchDeadlineMs },
  )
  const share = config.gate.open
    ? createShare({
        ...(await shareParts(context, { blockstore, database, log })),
        logger,
        clock,
      })
    : undefined
  const census = new CensusTaker({ paths, database, names, clock, logger })
  return {
    paths,
    database,
    nodes,
    sources,
    network,
    names,
    settler,
    queue,
    orphans,
    log,
    committer,
    hydrator,
    share,
    census,
  }
}

/** Ends all work and makes the table durable. What is not settled stays dirty. */
export async function closeServices(services: Services): Promise<void> {
  const { census, database, hydrator, network, nodes, orphans, queue, settler, share } = services
  await queue.close()
  await share?.close()
  await hydrator.close()
  await network?.close()
  await census.close()
  await settler.idle()
  await orphans.close()
  await nodes.flush()
  await database.sync()
  await database.close()
}

/** A placeholder has all its bytes: programs and the table learn of it. */
async function complete(
  parts: { engine: Engine; settler: Settler; names: NameRules; clock: Clock },
  path: WireName,
  id: InodeId,
  file: CompletedFile,
): Promise<void> {
  const { clock, engine, names, settler } = parts
  engine.notifyComplete(id)
  if (typeof path !== 'string' || names.reason(path, 'f') !== undefined) {
    return
  }
  for (const retryMs of ADOPT_RETRY_MS) {
    const outcome = await settler.adopt(path, id, file)
    if (outcome.state !== 'busy') {
      // Anything but `settled` means that it changed since: it is hashed like every other file.
      return
    }
    await delay(retryMs, undefined, clock)
  }
}

async function shareParts(
  { paths }: ServiceContext,
  parts: { blockstore: CacheBlockstore; database: Database; log: CommitLog },
) {
  const { blockstore, database, log } = parts
  return {
    getBlock: blockstore.getBytes.bind(blockstore),
    getNode: (cid: Parameters<CacheBlockstore['getBytes']>[0]) => localBlock(blockstore, cid),
    filesWithLeaf: async (digest: Uint8Array) => {
      const places = await database.leaves.find(digest)
      const rows = await Promise.all(places.map(({ oid }) => database.objects.get(oid)))
      return rows.flatMap((row) => (row === undefined ? [] : [row.cid]))
    },
    roots: () => log.roots(),
    currentRoot: () => {
      const current = log.current()
      return current?.meta === undefined
        ? undefined
        : {
            root: current.root.toString(),
            tree: current.tree.toString(),
            meta: current.meta.toString(),
            sequence: current.sequence,
            committedAt: current.at.toISOString(),
          }
    },
    file: paths.share,
    name: ipnsNameOf(await publicKeyOf(paths.key)),
  }
}

async function openDatabaseSoon(paths: StorePaths, clock: Clock): Promise<Database> {
  const giveUpAt = clock.monotonicMs() + DATABASE_WAIT_MS
  for (;;) {
    try {
      return await openDatabase(paths.db)
    } catch (error) {
      const locked = error instanceof Error && 'code' in error && error.code === 'database-locked'
      if (!locked || clock.monotonicMs() >= giveUpAt) {
        throw error
      }
    }
    await delay(DATABASE_RETRY_MS, undefined, clock)
  }
}

async function hasExactStamps(tree: string): Promise<boolean> {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  const [newMajor, newMinor] = MULTIGRAIN_KERNEL
  const isNew = major > newMajor || (major === newMajor && minor >= newMinor)
  return isNew && MULTIGRAIN_FILE_SYSTEMS.includes(await statfsType(tree))
}
