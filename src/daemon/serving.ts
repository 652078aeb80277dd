import { lstat } from 'node:fs/promises'
import {
  type Clock,
  isErrno,
  type Logger,
  ModelcacheError,
  messageOf,
  withDeadline,
} from '../base/index.ts'
import {
  type DirectoryAttributes,
  readServingMark,
  removeServingMark,
  writeServingMark,
} from '../config/index.ts'
import {
  createPlainEngine,
  createPortableEngine,
  type Engine,
  type LocalTree,
  openLocalTree,
} from '../mount/index.ts'
import { checkStore, type StorePaths } from '../tree/index.ts'
import { createDaemon, type RunningDaemon } from './daemon.ts'
import { FactsSocket } from './facts-socket.ts'
import type { StartConfig } from './start-config.ts'
import type { StarterPipe } from './starter-pipe.ts'

export interface ServingParts {
  config: StartConfig
  clock: Clock
  logger: Logger
  starter: StarterPipe
  /** Ends this process. */
  exit(code: number): void
}

/** Why reads and writes are not the kernel's alone, in `status`. */
const PASSTHROUGH = {
  'fuse-native': 'engine fuse-native: reads and writes go through the daemon',
  none: 'engine none: programs use the directory on disk itself',
} as const

/** Told a second time to end, the process waits no longer than this for its mount to go. */
const AT_ONCE_MS = 5000

const PERMISSION_BITS = 0o7777
/** Of a mountpoint that was not there: as mkdir(1) makes one. */
const DEFAULT_MODE = 0o755

const INTERRUPTED = 'told to end while starting'

function interrupted(): ModelcacheError {
  return new ModelcacheError(INTERRUPTED, { code: 'interrupted', exitCode: 1 })
}

/** A mount whose engine is in this process, from its start to the exit code. */
export class Serving {
  readonly #parts: ServingParts
  #tree: LocalTree | undefined
  #engine: Engine | undefined
  #daemon: RunningDaemon | undefined
  #socket: FactsSocket | undefined
  #told = 0

  constructor(parts: ServingParts) {
    this.#parts = parts
  }

  async run(): Promise<void> {
    const { clock, config, logger, starter, exit } = this.#parts
    const paths = await checkStore(config.store)
    const tree = await openLocalTree(paths, { clock, logger })
    this.#tree = tree
    try {
      await this.#listen(paths)
      const before = await directoryBefore(config)
      await writeServingMark(config.store, { ...config, directory: before })
      this.#engine = await this.#createEngine(tree, before)
      if (this.#told > 0) {
        await this.#engine.failed(1, INTERRUPTED)
        throw interrupted()
      }
    } catch (error) {
      await this.#leave()
      await tree.close(tree.untouched)
      throw error
    }
    const passthrough = { active: false, reason: PASSTHROUGH[config.engine] }
    const { engine: name, mountpoint, store, readOnly, daemonConfig } = config
    this.#daemon = createDaemon({
      hello: {
        engine: name,
        keeperPid: process.pid,
        mountpoint,
        store,
        readOnly,
        clean: tree.clean,
        restarts: 0,
        config: daemonConfig,
        passthrough,
      },
      engine: this.#engine,
      clock,
      logger,
      starter: {
        progress: (progress) => starter.progress(progress),
        ready: () => starter.ready(passthrough),
        failed: (error) => starter.failed(error),
        leaving: () => this.#leave(),
      },
      exit,
    })
    await this.#daemon.run()
  }

  /** A signal: the first one drains, the second one ends it at once. */
  told(signal: NodeJS.Signals): void {
    this.#told += 1
    const work = this.#told === 1 ? this.#endOrderly(signal) : this.#endAtOnce(signal)
    work.catch((error: unknown) => {
      this.#parts.logger.error('the end failed', { reason: messageOf(error), error })
      this.#parts.exit(1)
    })
  }

  async #endOrderly(signal: NodeJS.Signals): Promise<void> {
    if (this.#daemon?.state === 'starting') {
      // Nobody has used the mount yet: there is nothing to commit.
      await this.#daemon.giveUp(interrupted())
    } else {
      // Before there is a daemon, `run` looks at it when the engine is there.
      this.#daemon?.drain(signal)
    }
  }

  /** What is not committed stays in the store for the next mount, which looks at everything. */
  async #endAtOnce(signal: NodeJS.Signals): Promise<void> {
    const { clock, config, exit, logger } = this.#parts
    logger.warn('told to end twice: ending without a commit', { signal })
    const over = withDeadline(undefined, AT_ONCE_MS, clock)
    const { promise: late, reject } = Promise.withResolvers<never>()
    over.addEventListener('abort', () => reject(over.reason), { once: true })
    await Promise.race([this.#engine?.unmount(true), late])
    await this.#leave()
    // Without an engine nobody knows what was written since the last commit.
    const isUntouched = config.engine !== 'none' && (this.#tree?.untouched ?? true)
    exit(isUntouched ? 0 : 3)
  }

  #createEngine(
    tree: LocalTree,
    before: DirectoryAttributes | undefined,
  ): Promise<Engine> | Engine {
    const { clock, config, logger } = this.#parts
    const { mountpoint, readOnly, fsName, fetchDeadlineMs } = config
    switch (config.engine) {
      case 'fuse-native':
        return createPortableEngine({
          tree,
          mountpoint,
          readOnly,
          fsName,
          fetchDeadlineMs,
          logger,
          clock,
        })
      case 'none':
        return createPlainEngine({ tree, mountpoint, before, logger, clock })
    }
  }

  async #listen(paths: StorePaths): Promise<void> {
    this.#socket = new FactsSocket(() => this.#facts(), this.#parts.logger)
    await this.#socket.listen(paths.run)
  }

  /** While the store's lock is still ours: what is removed later could be the next one's. */
  async #leave(): Promise<void> {
    await this.#socket?.close()
    await removeServingMark(this.#parts.config.store)
  }

  /** As the keeper says it, and the engine. */
  async #facts(): Promise<Record<string, unknown>> {
    const { engine, mountpoint, store, readOnly } = this.#parts.config
    const state = this.#daemon?.state ?? 'starting'
    const stats = await this.#engine?.stats()
    return {
      pid: process.pid,
      daemonPid: process.pid,
      daemon: { state: state === 'starting' ? 'starting' : 'running', trouble: null },
      restarts: 0,
      mountpoint,
      store,
      readOnly,
      state,
      engine,
      passthrough: { active: false, reason: PASSTHROUGH[engine] },
      stats: stats === undefined ? {} : { ...stats, dirty: stats.dirty.length },
    }
  }
}

/** What the mountpoint was before a link took its place: now, or when a daemon died that made it. */
async function directoryBefore({
  engine,
  mountpoint,
  store,
}: StartConfig): Promise<DirectoryAttributes | undefined> {
  if (engine !== 'none') {
    return undefined
  }
  const mark = await readServingMark(store)
  try {
    const stats = await lstat(mountpoint)
    if (stats.isDirectory()) {
      return { mode: stats.mode & PERMISSION_BITS, uid: stats.uid, gid: stats.gid }
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
    return { mode: DEFAULT_MODE, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  }
  return mark?.mountpoint === mountpoint ? mark.directory : undefined
}
