import { lstat } from 'node:fs/promises'
import { release } from 'node:os'
import type { CID } from 'multiformats/cid'
import { type Clock, delay, type Logger, messageOf, statfsType } from '../base/index.ts'
import {
  type CacheBlockstore,
  createCacheBlockstore,
  createNodeStore,
  type NodeStore,
} from '../blocks/index.ts'
import type { DaemonConfig } from '../config/index.ts'
import { CarFile, KeptFiles, KeptRoots, withCar } from '../history/index.ts'
import {
  type CompletedFile,
  createHydrator,
  type Hydrator,
  type Sources,
} from '../hydrate/index.ts'
import { createNetwork, type Network } from '../ipfs/index.ts'
import type { Engine, Hello, WireName } from '../mount/index.ts'
import { createShare, ipnsNameOf, type RootAnswer, type Share } from '../share/index.ts'
import {
  createNameClassifier,
  type Database,
  hasUnseenWriters,
  type InodeId,
  inodeIdOf,
  inodeKey,
  nameRulesDigest,
  openDatabase,
  readLocalOnlyPatterns,
  type StorePaths,
} from '../tree/index.ts'
import {
  CommitLog,
  Committer,
  type LoggedCommit,
  NameRules,
  OrphanCollector,
  publicKeyOf,
  SettleQueue,
  Settler,
} from '../writeback/index.ts'
import { createSources, localBlock } from './block-sources.ts'
import { CensusTaker } from './census.ts'
import { ObeyedRules } from './obeyed-rules.ts'
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
  obeyed: ObeyedRules
  /** The folder of the tree is not the one that the table was made of: no row can be right. */
  copied: boolean
  blockstore: CacheBlockstore
  kept: KeptRoots
  keptFiles: KeptFiles
  /** The file of `--from FILE.car`, while not everything of it is in the tree. */
  car: CarFile | undefined
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
  const { clock, config, engine, hello, logger, paths } = context
  const database = await openDatabaseSoon(paths, clock)
  const nodes = createNodeStore(paths.nodes)
  await nodes.open()
  const { leaves } = database
  const blockstore = createCacheBlockstore({ nodes, leaves, objectsDir: paths.objects })
  const network = await openNetwork(context, blockstore)
  const car = await openCar(context, database)
  const others = createSources(blockstore, network, config.gate)
  const sources = car === undefined ? others : withCar(others, car)
  const patterns = [
    ...(config.localOnlyPatterns ?? []),
    ...(await readLocalOnlyPatterns(paths.localOnly)),
  ]
  const names = new NameRules(database.secrets, createNameClassifier(patterns))
  const log = await CommitLog.open(paths.commits)
  const obeyed = await ObeyedRules.open(database.notes, nameRulesDigest(patterns), log)
  const kept = await KeptRoots.open(paths.keptRoots, log, config.keepRoots)
  const keptFiles = new KeptFiles({
    kept,
    log,
    getLocal: (cid) => localBlock(blockstore, cid),
    database,
    objectsDir: paths.objects,
  })
  const shared = { ...context, database, nodes, names, kept: keptFiles }
  const { settler, orphans, queue } = await createSettling(shared)
  const copied = await isCopied(paths, database)
  const committer = new Committer({
    ...shared,
    settler,
    queue,
    orphans,
    log,
    getBlock: sources.getBlock,
    key: () => publicKeyOf(paths.key),
    mountpoint: hello.mountpoint,
    everything:
      !hello.clean || copied || database.recovery !== 'none' || obeyed.since === undefined,
    namesChecked: (sequence) => obeyed.checked(sequence),
    unseenWriters: () => hello.engine !== 'none' && hasUnseenWriters(paths),
  })
  const hydrator = createHydrator(
    {
      ...shared,
      sources,
      onComplete: (path, id, file) =>
        complete({ engine, settler, queue, names, clock }, path, id, file),
    },
    { deadlineMs: config.fetchDeadlineMs },
  )
  const share = config.gate.open
    ? await openShare(context, { blockstore, database, log, obeyed })
    : undefined
  const census = new CensusTaker({ paths, database, names, settler, clock, logger })
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
    obeyed,
    copied,
    blockstore,
    kept,
    keptFiles,
    car,
  }
}

const TREE_NOTE = 'tree'

/** A store that was copied, or restored from a backup, has other inodes: its table is of the old ones. */
async function isCopied(paths: StorePaths, { notes }: Database): Promise<boolean> {
  const known = await notes.get(TREE_NOTE)
  const tree = inodeKey(inodeIdOf(await lstat(paths.tree, { bigint: true })))
  if (known === tree) {
    return false
  }
  await notes.put(TREE_NOTE, tree)
  return known !== undefined
}

const CAR_NOTE = 'car'

/**
 * The CAR file that the store began from: named now, or by an earlier mount that did not take all
 * of it over. One of an earlier mount that is gone is no reason not to serve what is here.
 */
async function openCar(
  { config, logger }: ServiceContext,
  { notes }: Database,
): Promise<CarFile | undefined> {
  if (config.car !== undefined) {
    const car = await CarFile.open(config.car)
    await notes.put(CAR_NOTE, config.car)
    return car
  }
  const path = await notes.get(CAR_NOTE)
  if (path === undefined || path === '') {
    return undefined
  }
  try {
    return await CarFile.open(path)
  } catch (error) {
    logger.warn('what is still in the CAR file cannot be read', { path, reason: messageOf(error) })
    return undefined
  }
}

/** Everything of the CAR file is in the tree: nobody needs it any more. */
export async function forgetCar({ database }: Pick<Services, 'database'>): Promise<void> {
  await database.notes.put(CAR_NOTE, '')
}

async function createSettling(
  parts: ServiceContext & Pick<Services, 'database' | 'nodes' | 'names'> & { kept: KeptFiles },
): Promise<Pick<Services, 'settler' | 'orphans' | 'queue'>> {
  const { paths } = parts
  const settler: Settler = new Settler({
    ...parts,
    treeDir: paths.tree,
    exactStamps: await hasExactStamps(paths.tree),
    onFirstObject: (id) => orphans.settled(id),
  })
  const orphans = new OrphanCollector({
    ...parts,
    objectsDir: paths.objects,
    exclusive: (id, fn) => settler.exclusive(id, fn),
  })
  const queue = new SettleQueue({ ...parts, settle: (request) => settler.settle(request) })
  return { settler, orphans, queue }
}

/** None while the gate is closed: there is nothing that could open a socket. */
async function openNetwork(
  { clock, config, logger, paths }: ServiceContext,
  blockstore: CacheBlockstore,
): Promise<Network | undefined> {
  if (!config.gate.open) {
    return undefined
  }
  const peers = await peersOf(paths.sources, config.peers)
  return createNetwork({ blockstore, peers, logger, clock })
}

/** Ends all work and makes the table durable. What is not settled stays dirty. */
export async function closeServices(services: Services): Promise<void> {
  const { car, census, database, hydrator, network, nodes, orphans, queue, settler, share } =
    services
  await queue.close()
  await share?.close()
  await hydrator.close()
  await network?.close()
  await car?.close()
  await census.close()
  await settler.idle()
  await orphans.close()
  await nodes.flush()
  await database.sync()
  await database.close()
}

/** A placeholder has all its bytes: programs and the table learn of it. */
async function complete(
  parts: Pick<Services, 'settler' | 'queue' | 'names'> & Pick<ServiceContext, 'engine' | 'clock'>,
  path: WireName,
  id: InodeId,
  file: CompletedFile,
): Promise<void> {
  const { clock, engine, names, queue, settler } = parts
  engine.notifyComplete(id)
  // Without a path it was unlinked meanwhile: nobody needs a row of it.
  if (typeof path !== 'string' || path === '' || names.reason(path, 'f') !== undefined) {
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
  queue.hint(path, id, 'writer')
}

async function openShare(
  { clock, logger, paths }: ServiceContext,
  parts: {
    blockstore: CacheBlockstore
    database: Database
    log: CommitLog
    obeyed: ObeyedRules
  },
): Promise<Share> {
  const { blockstore, database, log, obeyed } = parts
  return createShare({
    getBlock: (cid, signal) => blockstore.getBytes(cid, signal),
    getNode: (cid) => localBlock(blockstore, cid),
    filesWithLeaf: async (digest) => {
      const places = await database.leaves.find(digest)
      const rows = await Promise.all(places.map(({ oid }) => database.objects.get(oid)))
      return rows.flatMap((row) => (row === undefined ? [] : [row.cid]))
    },
    isSecret: (file) => holdsSecret(database, file),
    roots: () => (obeyed.since === undefined ? [] : log.roots(obeyed.since)),
    currentRoot: () => (obeyed.since === undefined ? undefined : rootAnswer(log.current())),
    file: paths.share,
    name: ipnsNameOf(await publicKeyOf(paths.key)),
    logger,
    clock,
  })
}

/** A file that has, or had, the name of a secret holds what this file CID stands for. */
export async function holdsSecret(
  { objects, secrets }: Pick<Database, 'objects' | 'secrets'>,
  file: CID,
): Promise<boolean> {
  for (const { id } of await objects.byCid(file)) {
    if (await secrets.has(id)) {
      return true
    }
  }
  return false
}

function rootAnswer(current: LoggedCommit | undefined): RootAnswer | undefined {
  if (current?.meta === undefined) {
    return undefined
  }
  const { root, tree, meta, sequence, at } = current
  return {
    root: root.toString(),
    tree: tree.toString(),
    meta: meta.toString(),
    sequence,
    committedAt: at.toISOString(),
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
