import type { CID } from 'multiformats/cid'
import { type Clock, type Logger, ModelcacheError, reached } from '../base/index.ts'
import type { NodeStore } from '../blocks/index.ts'
import { encodeCommit, type GetBlock, type PutNode } from '../dag/index.ts'
import type { Engine, Snapshot } from '../mount/index.ts'
import { type Database, type DirectoryRow, type InodeId, inodeKey } from '../tree/index.ts'
import { type BuiltTree, buildTree, sameCid, UNKNOWN_DIRECTORY } from './build-tree.ts'
import type { CommitLog, LoggedCommit } from './commit-log.ts'
import { leaveOutDanglingLinks } from './link-check.ts'
import type { NameRules } from './name-rules.ts'
import type { OrphanCollector } from './orphan-collector.ts'
import type { OpenName, TreePlan } from './plan.ts'
import type { SettleQueue } from './settle-queue.ts'
import type { Settler } from './settler.ts'
import { leaveUnlistedOpen, surveyTree } from './survey.ts'
import { TsizeFinder } from './tsize-finder.ts'

/** What a commit made. */
export interface CommitResult {
  /** The commit block, or the adopted directory while nothing has changed since. */
  root: CID
  tree: CID
  /** Names that are on disk and not, or not as they are, in the root. */
  dirty: number
  /** Those names, the first few thousand. */
  open: OpenName[]
  /** Names that never enter a root as they are: damaged blobs, credentials. */
  withheld: OpenName[]
  /** False when the root is the one before. */
  changed: boolean
}

/** An answer has to fit a frame and a screen. */
const MAX_NAMED = 4096

export interface CommitterParts {
  engine: Pick<Engine, 'snapshot' | 'committed'>
  database: Pick<Database, 'files' | 'directories'>
  nodes: Pick<NodeStore, 'put' | 'flush' | 'has'>
  settler: Settler
  queue: Pick<SettleQueue, 'flush'>
  names: NameRules
  orphans: OrphanCollector
  log: CommitLog
  getBlock: GetBlock
  /** Raw Ed25519 public key of this store. */
  key: () => Promise<Uint8Array>
  mountpoint: string
  /** The last stop was not clean: the first commit compares the whole tree. */
  everything: boolean
  /** The root of this sequence number, and all after it, obey the rules for names. */
  namesChecked: (sequence: number) => Promise<void>
  /** Programs may change the tree past the engine: then every commit compares the whole tree. */
  unseenWriters: () => boolean
  clock: Clock
  logger: Logger
}

/** What a directory would be in a root of this moment. */
export interface DirectoryAnswer {
  /** Undefined for a directory that is in no root: its name is local-only. */
  cid: CID | undefined
  /** A name at or below it that is not settled. */
  open: OpenName | undefined
}

/** Makes roots: one at a time, each of one moment of the tree. */
export class Committer {
  readonly #parts: CommitterParts
  #running: Promise<unknown> = Promise.resolve()
  #next: { result: Promise<CommitResult>; signals: (AbortSignal | undefined)[] } | undefined
  #everything: boolean
  #withheld: readonly OpenName[] = []

  constructor(parts: CommitterParts) {
    this.#parts = parts
    this.#everything = parts.everything || parts.unseenWriters()
  }

  /**
   * Settles what can be settled and makes a root of it. Calls that come while one runs share the
   * one after it: only that shows what was on disk when they were made.
   *
   * @param signal ends the settling, not the commit: what has no CID by then is listed as open
   */
  commit(signal?: AbortSignal): Promise<CommitResult> {
    if (this.#next !== undefined) {
      this.#next.signals.push(signal)
      return this.#next.result
    }
    const signals = [signal]
    const result = this.#inTurn(() => {
      this.#next = undefined
      return this.#commit(patience(signals))
    })
    this.#next = { result, signals }
    return result
  }

  /**
   * The CID of a directory as it is now. Nothing is settled for it, and no root is made.
   *
   * @param path relative to the tree
   */
  directoryCid(path: string, id: InodeId): Promise<DirectoryAnswer> {
    return this.#inTurn(async () => {
      const { database, engine, settler } = this.#parts
      await settler.idle()
      const watch = settler.watch.begin()
      try {
        const noTime = AbortSignal.abort()
        const attempt =
          (await this.#build(await engine.snapshot(false), noTime, false)) ??
          (await this.#build(await engine.snapshot(true), noTime, true))
        const key = inodeKey(id)
        const built = attempt?.built.rows.find(([one]) => inodeKey(one) === key)
        const row = built?.[1] ?? (await database.directories.get(id))
        const below = path === '' ? '' : `${path}/`
        const open = attempt?.plan.open.find((one) => one.path.startsWith(below))
        return { cid: row?.cid, open }
      } finally {
        watch.end()
      }
    })
  }

  /** As `commit`, and builds every directory of the root anew: nodes that were lost are there again. */
  rebuild(): Promise<CommitResult> {
    this.#everything = true
    return this.commit()
  }

  /** Runs while no commit is under way. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(work)
  }

  /** What the last commit of this process left out as it was: credentials, damaged blobs. */
  get withheld(): readonly OpenName[] {
    return this.#withheld
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#running.then(work, work)
    this.#running = result
    return result
  }

  async #commit(signal: AbortSignal | undefined): Promise<CommitResult> {
    const { settler, queue, orphans } = this.#parts
    await queue.flush(signal)
    await settler.idle()
    const watch = settler.watch.begin()
    const hold = orphans.commitBegins()
    try {
      return await this.#ofOneMoment(signal)
    } finally {
      watch.end()
      hold.end()
    }
  }

  async #ofOneMoment(signal: AbortSignal | undefined): Promise<CommitResult> {
    const { engine, log, orphans } = this.#parts
    const current = log.current()
    if (!this.#everything) {
      const snapshot = await engine.snapshot(false)
      if (snapshot.directories.length === 0 && current !== undefined) {
        engine.committed(snapshot.number, [])
        await orphans.collect(snapshot.sequence)
        return unchangedResult(current)
      }
      const attempt = await this.#build(snapshot, signal, false)
      if (attempt !== undefined) {
        return this.#publish(snapshot, attempt)
      }
    }
    const snapshot = await engine.snapshot(true)
    if (snapshot.directories.length === 0 && current !== undefined) {
      engine.committed(snapshot.number, [])
      return unchangedResult(current)
    }
    const attempt = await this.#build(snapshot, signal, true)
    if (attempt === undefined) {
      throw new ModelcacheError('commit: the listing of the whole tree is not complete', {
        code: 'commit',
      })
    }
    const result = await this.#publish(snapshot, attempt)
    await this.#parts.namesChecked(log.current()?.sequence ?? 0)
    this.#everything = this.#parts.unseenWriters()
    return result
  }

  /** Undefined when only a listing of the whole tree will do. */
  async #build(
    snapshot: Snapshot,
    signal: AbortSignal | undefined,
    everything: boolean,
  ): Promise<{ plan: TreePlan; built: BuiltTree } | undefined> {
    const { clock, database, getBlock, nodes } = this.#parts
    reached('commit.listed')
    const plan = await surveyTree(this.#parts, snapshot, signal)
    if (plan.lostNames && !everything) {
      return undefined
    }
    if (everything) {
      await leaveUnlistedOpen(plan, this.#parts)
    }
    await leaveOutDanglingLinks(plan, this.#parts)
    const putNode: PutNode = async (cid, bytes) => {
      await nodes.put(cid, bytes)
    }
    const tsizes = new TsizeFinder(plan.directories, getBlock, clock)
    try {
      return { plan, built: await buildTree(plan, { database, putNode, tsizes }) }
    } catch (error) {
      if (!everything && error instanceof ModelcacheError && error.code === UNKNOWN_DIRECTORY) {
        return undefined
      }
      throw error
    }
  }

  /** Blocks, log, rows: in this order each is true when the one after it says so. */
  async #publish(
    snapshot: Snapshot,
    { plan, built: { root, rows } }: { plan: TreePlan; built: BuiltTree },
  ): Promise<CommitResult> {
    const { database, engine, log, nodes, orphans } = this.#parts
    reached('commit.built')
    const current = log.current()
    const isLost = this.#everything && current !== undefined && !(await nodes.has(current.root))
    const changed = current === undefined || isLost || !isRoot(current, root)
    const logged = changed ? await this.#store(root, current) : current
    if (changed) {
      await log.append(logged)
      reached('commit.logged')
    } else {
      await nodes.flush()
    }
    for (const [id, row] of rows) {
      await database.directories.put(id, row)
    }
    for (const id of plan.excluded) {
      await database.directories.delete(id)
      orphans.forgetDirectory(id)
    }
    if (this.#everything) {
      await this.#forgetOtherDirectories(rows)
    }
    reached('commit.rows')
    engine.committed(snapshot.number, unfinished(plan))
    reached('commit.done')
    orphans.committed(rows)
    await orphans.collect(snapshot.sequence)
    const result = resultOf(logged, plan, changed)
    this.#withheld = result.withheld
    return result
  }

  /** After a listing of the whole tree: rows of directories that are gone go too. */
  async #forgetOtherDirectories(rows: BuiltTree['rows']): Promise<void> {
    const { directories } = this.#parts.database
    const listed = new Set(rows.map(([id]) => inodeKey(id)))
    for await (const [id] of directories.entries()) {
      if (!listed.has(inodeKey(id))) {
        await directories.delete(id)
        this.#parts.orphans.forgetDirectory(id)
      }
    }
  }

  /** Makes the commit block and everything below it durable. */
  async #store(root: DirectoryRow, current: LoggedCommit | undefined): Promise<LoggedCommit> {
    const { clock, key, logger, nodes } = this.#parts
    const { cid: tree, metaCid: meta, mode: rootMode, mtimeNs: rootMtimeNs } = root
    if (meta === undefined) {
      throw new ModelcacheError('commit: the root has no meta block', { code: 'commit' })
    }
    // Bare UnixFS that was adopted is no commit, so it cannot be a parent.
    const parents = current?.meta === undefined ? [] : [current.root]
    const sequence = (current?.sequence ?? 0) + 1
    const fields = { tree, meta, rootMode, rootMtimeNs, parents, sequence, key: await key() }
    const { cid, bytes } = encodeCommit(fields)
    await nodes.put(cid, bytes)
    await nodes.flush()
    reached('commit.stored')
    logger.info('new root', { root: cid.toString(), tree: tree.toString(), sequence })
    const at = clock.now()
    return { root: cid, tree, meta, rootMode, rootMtimeNs, sequence, at, adopted: false }
  }
}

/** Settling may take as long as the most patient caller waits. */
function patience(signals: readonly (AbortSignal | undefined)[]): AbortSignal | undefined {
  const [only, ...others] = signals
  if (others.length === 0) {
    return only
  }
  const all: AbortSignal[] = []
  for (const signal of signals) {
    if (signal === undefined) {
      return undefined
    }
    all.push(signal)
  }
  const controller = new AbortController()
  const check = () => {
    if (all.every(({ aborted }) => aborted)) {
      controller.abort()
    }
  }
  for (const signal of all) {
    signal.addEventListener('abort', check, { once: true })
  }
  check()
  return controller.signal
}

function isRoot(current: LoggedCommit, { cid, metaCid, mode, mtimeNs }: DirectoryRow): boolean {
  return (
    current.tree.equals(cid) &&
    sameCid(current.meta, metaCid) &&
    current.rootMode === mode &&
    current.rootMtimeNs === mtimeNs
  )
}

/** Directories that must be listed again though nothing in them may change any more. */
function unfinished(plan: TreePlan): InodeId[] {
  return plan.directories
    .filter(({ entries }) =>
      [...entries.values()].some(({ kind }) => kind === 'absent' || kind === 'carried'),
    )
    .map(({ listing }) => listing.id)
}

function unchangedResult({ root, tree }: LoggedCommit): CommitResult {
  return { root, tree, dirty: 0, open: [], withheld: [], changed: false }
}

function resultOf({ root, tree }: LoggedCommit, plan: TreePlan, changed: boolean): CommitResult {
  const byPath = (a: OpenName, b: OpenName) => (a.path < b.path ? -1 : 1)
  const open = plan.open.toSorted(byPath)
  const withheld = plan.withheld.toSorted(byPath)
  return {
    root,
    tree,
    dirty: open.length,
    open: open.slice(0, MAX_NAMED),
    withheld: withheld.slice(0, MAX_NAMED),
    changed,
  }
}
