import { type Clock, delay, type Logger, ModelcacheError, nextTurn } from '../../base/index.ts'
import { type InodeId, inodeKey } from '../../tree/index.ts'
import type { ListedDirectory } from '../engine.ts'
import { printableName } from '../wire.ts'
import type { ChangedDirectories, Marks } from './changed-directories.ts'
import type { ObjectLinks } from './object-links.ts'
import { type Steps, TreeWalk } from './tree-walk.ts'

/** So long a walk holds up whoever waits for this thread: a lease that is being broken, a call. */
const TURN_MS = 5
/** How often what moved while it was listed is listed again, before it is taken as it is. */
const MAX_ROUNDS = 10
/** A change that comes later than this after another shows in the times of its directory. */
const GRAIN_MS = 20
const NS_PER_MS = 1_000_000n

export interface SnapshotTakerParts {
  rootFd: number
  objects: Pick<ObjectLinks, 'of' | 'inodes' | 'nameless'>
  changes: ChangedDirectories
  /** What the dirty log named at the start. */
  noted: readonly InodeId[]
  /** The log names it, and no directory holds it. */
  vanished(id: InodeId): void
  /** Only while nobody tells of removals: its last name went, of a settled file or a directory. */
  gone(id: InodeId): void
  logger: Logger
  clock: Pick<Clock, 'now' | 'monotonicMs' | 'setTimeout'>
}

export interface TakenSnapshot {
  number: number
  directories: ListedDirectory[]
}

/** Lists the changed directories, or all, for a commit. */
export class SnapshotTaker {
  readonly #parts: SnapshotTakerParts
  readonly #unfound: Map<string, InodeId>
  /** Directories of the last listing in turns that was of one moment. */
  #known = new Map<string, InodeId>()
  #running: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(parts: SnapshotTakerParts) {
    this.#parts = parts
    this.#unfound = new Map(parts.noted.map((id) => [inodeKey(id), id]))
  }

  /** One moment of the tree: nothing of this thread runs in between. An error leaves the marks. */
  atOnce(all: boolean): TakenSnapshot {
    const taken = this.#parts.changes.take()
    const walk = this.#walk(taken.marks)
    if (!all && !taken.all) {
      return this.#finish(taken.snapshot, runAtOnce(walk.changed()))
    }
    runAtOnce(walk.everything())
    this.#dropVanished()
    return this.#finish(taken.snapshot, walk.directories())
  }

  /**
   * All of a tree that programs change meanwhile, unseen. It is of one moment if everything stands
   * still for as long as one look at all directories takes; docs/decisions/without-an-engine.md
   * says what is promised if it never does.
   */
  inTurns(): Promise<TakenSnapshot> {
    const result = this.#running.then(() => this.#inTurns())
    this.#running = result.catch(() => undefined)
    return result
  }

  /** Ends what runs. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }

  async #inTurns(): Promise<TakenSnapshot> {
    const { changes, logger } = this.#parts
    const taken = changes.take()
    const settled = new Set<bigint>()
    const walk = this.#walk(taken.marks, (ino) => settled.add(ino))
    await this.#run(walk.everything())
    const still = await this.#untilStill(walk)
    if (still) {
      this.#dropVanished()
      this.#tellGoneDirectories(walk.directories())
    } else {
      logger.warn('the tree changed all the time while it was listed')
      await this.#run(walk.listAgain(walk.targetsOfLinks()))
    }
    await this.#tellGoneFiles(settled)
    return this.#finish(taken.snapshot, walk.directories())
  }

  async #untilStill(walk: TreeWalk): Promise<boolean> {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const moved = await this.#run(walk.moved())
      if (moved.length === 0) {
        return true
      }
      await delay(GRAIN_MS, undefined, this.#parts.clock)
      await this.#run(walk.listAgain(moved))
    }
    return false
  }

  #walk(marks: Marks, settledSeen: (ino: bigint) => void = () => undefined): TreeWalk {
    const { changes, clock, logger, objects, rootFd } = this.#parts
    return new TreeWalk(
      {
        rootFd,
        isSettled: (ino) => objects.of(ino) > 0,
        seen: ({ id }) => {
          this.#unfound.delete(inodeKey(id))
          settledSeen(id.ino)
        },
        unreadable: (path, reason) => {
          logger.warn('a directory cannot be listed', { path: printableName(path), reason })
          if (typeof path === 'string') {
            changes.stillChanged(path, marks)
          }
        },
        nowNs: () => BigInt(clock.now().getTime()) * NS_PER_MS,
      },
      marks,
    )
  }

  #finish(number: number, directories: ListedDirectory[]): TakenSnapshot {
    this.#parts.changes.listed(number, directories)
    return { number, directories }
  }

  /** What the log names and no directory holds is gone. */
  #dropVanished(): void {
    for (const id of this.#unfound.values()) {
      this.#parts.vanished(id)
    }
    this.#unfound.clear()
  }

  #tellGoneDirectories(directories: readonly ListedDirectory[]): void {
    const now = new Map(directories.map(({ id }) => [inodeKey(id), id]))
    for (const [key, id] of this.#known) {
      if (!now.has(key)) {
        this.#parts.gone(id)
      }
    }
    this.#known = now
  }

  /** Objects without a name in the tree: otherwise `rm` would never free the disk. */
  async #tellGoneFiles(settled: ReadonlySet<bigint>): Promise<void> {
    const { gone, objects } = this.#parts
    const missing = [...objects.inodes()].some((ino) => !settled.has(ino))
    for (const id of missing ? await objects.nameless() : []) {
      gone(id)
    }
  }

  async #run<T>(steps: Steps<T>): Promise<T> {
    const { clock } = this.#parts
    for (let until = clock.monotonicMs() + TURN_MS; ; ) {
      const step = this.#closed ? steps.throw(closed()) : steps.next()
      if (step.done === true) {
        return step.value
      }
      if (clock.monotonicMs() >= until) {
        await nextTurn()
        until = clock.monotonicMs() + TURN_MS
      }
    }
  }
}

function runAtOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done === true) {
      return step.value
    }
  }
}

function closed(): ModelcacheError {
  return new ModelcacheError('the store is closed', { code: 'engine-gone', errno: 'EIO' })
}
