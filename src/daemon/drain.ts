import type { CID } from 'multiformats/cid'
import {
  type Clock,
  delay,
  isErrno,
  type Logger,
  ModelcacheError,
  messageOf,
  withDeadline,
} from '../base/index.ts'
import type { Engine } from '../mount/index.ts'
import type { CommitResult } from '../writeback/index.ts'
import type { MountState } from './status.ts'

/** A signal has no time-out of its own; `unmount` has a minute by default. */
const SIGNAL_TIMEOUT_MS = 60_000
/** After a signal a busy mount is asked for again, then taken away lazily (docs/protocol.md). */
const LAZY_AFTER_MS = 5000
const RETRY_MS = 250
/** `df`, `status` and indexers hold a mount for a moment: that is not what busy means. */
const PASSING_MS = 1500
const PASSING_RETRY_MS = 50

export interface DrainParts {
  engine: Pick<Engine, 'unmount'>
  commit(signal: AbortSignal): Promise<CommitResult>
  /** The root as it stands when a commit fails. */
  currentRoot(): { root: CID; tree: CID } | undefined
  /** Ends the daemon; called once, when nothing is to be served any more. */
  finish(dirty: number): void
  clock: Clock
  logger: Logger
}

/** What a mount ended with. */
export interface Drained extends Omit<CommitResult, 'root' | 'tree' | 'changed'> {
  /** Undefined when nothing was ever committed. */
  root: CID | undefined
  tree: CID | undefined
}

/** The end of a mount: commit, unmount, commit what came in between, finish. */
export class Drain {
  readonly #parts: DrainParts
  #state: MountState = 'starting'
  #running: Promise<Drained> | undefined

  constructor(parts: DrainParts) {
    this.#parts = parts
  }

  get state(): MountState {
    return this.#state
  }

  serving(): void {
    this.#state = 'serving'
  }

  /**
   * From the command line.
   *
   * @throws ModelcacheError `busy` when something uses the mount: it goes on serving
   */
  unmount(options: { timeoutMs: number; force: boolean }): Promise<Drained> {
    return this.#once(options.timeoutMs, () => this.#unmount(options.force))
  }

  /** The keeper got a signal, or the mount is gone already. It is not asked whether it may. */
  async fromKeeper(reason: string, unmounted: boolean): Promise<void> {
    const { logger } = this.#parts
    logger.info('draining', { reason, unmounted })
    try {
      // A command may be at it, and give up because the mount is busy.
      await this.#running
      if (this.#state === 'draining') {
        return
      }
    } catch (error) {
      logger.info('another drain gave up', { reason: messageOf(error) })
    }
    try {
      await this.#once(SIGNAL_TIMEOUT_MS, async () => {
        if (!unmounted) {
          await this.#unmountPatiently()
        }
      })
    } catch (error) {
      logger.error('drain failed', { reason: messageOf(error), error })
    }
  }

  #once(timeoutMs: number, unmount: () => Promise<void>): Promise<Drained> {
    this.#running ??= this.#drain(timeoutMs, unmount).catch((error: unknown) => {
      this.#running = undefined
      this.#state = 'serving'
      throw error
    })
    return this.#running
  }

  async #drain(timeoutMs: number, unmount: () => Promise<void>): Promise<Drained> {
    const { clock, finish, logger } = this.#parts
    this.#state = 'draining'
    const signal = withDeadline(undefined, timeoutMs, clock)
    await this.#commit(signal)
    await unmount()
    const result = await this.#commit(signal)
    logger.info('drained', { root: result.root?.toString(), dirty: result.dirty })
    finish(result.dirty)
    return result
  }

  /** A mount ends also when its disk is full: what has no root is dirty and waits for the next. */
  async #commit(signal: AbortSignal): Promise<Drained> {
    const { commit, currentRoot, logger } = this.#parts
    try {
      return await commit(signal)
    } catch (error) {
      const reason = messageOf(error)
      logger.error('commit failed', { reason, error })
      const current = currentRoot()
      const open = [{ path: '.', reason: `it could not be committed: ${reason}` }]
      return { root: current?.root, tree: current?.tree, dirty: 1, open, withheld: [] }
    }
  }

  async #unmount(lazy: boolean): Promise<void> {
    const { clock, engine } = this.#parts
    const busyAt = clock.monotonicMs() + PASSING_MS
    for (;;) {
      try {
        await engine.unmount(lazy)
        return
      } catch (error) {
        if (!isErrno(error, 'EBUSY')) {
          throw error
        }
        if (clock.monotonicMs() >= busyAt) {
          throw new ModelcacheError('unmount: something uses the mount', {
            code: 'busy',
            errno: 'EBUSY',
            exitCode: 1,
            cause: error,
          })
        }
      }
      await delay(PASSING_RETRY_MS, undefined, clock)
    }
  }

  async #unmountPatiently(): Promise<void> {
    const { clock, engine } = this.#parts
    const lazyAt = clock.monotonicMs() + LAZY_AFTER_MS
    for (;;) {
      try {
        await engine.unmount(clock.monotonicMs() >= lazyAt)
        return
      } catch (error) {
        if (!isErrno(error, 'EBUSY')) {
          throw error
        }
      }
      await delay(RETRY_MS, undefined, clock)
    }
  }
}
