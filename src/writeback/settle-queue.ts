import { type Clock, type Logger, messageOf, type Timer } from '../base/index.ts'
import { type InodeId, inodeKey } from '../tree/index.ts'
import type { NameRules } from './name-rules.ts'
import type { SettleOutcome, SettleRequest } from './outcome.ts'

/** A rename to a final name often comes with others of the same file (link, unlink). */
const NAME_DEBOUNCE_MS = 50
/** A program that closes a file often opens it again at once. */
const WRITER_QUIET_MS = 2000
/** A mapping can outlive the last close, and nothing tells when it ends. */
const RETRY_MS = [2000, 4000, 8000, 16_000, 32_000, 60_000] as const
/** What does not fit is settled by the next commit, which looks at the listing. */
const MAX_WAITING = 65_536

interface Waiting {
  path: string
  id: InodeId
  attempt: number
  timer: Timer
}

export interface SettleQueueParts {
  settle(request: SettleRequest): Promise<SettleOutcome>
  names: Pick<NameRules, 'reason' | 'rememberSecret' | 'isSecret'>
  clock: Pick<Clock, 'setTimeout'>
  logger: Logger
}

/** Files that got a final name or lost their last writer, settled by themselves after a while. */
export class SettleQueue {
  readonly #parts: SettleQueueParts
  readonly #waiting = new Map<string, Waiting>()
  readonly #running = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor(parts: SettleQueueParts) {
    this.#parts = parts
  }

  /** How many files wait or are being settled. */
  get size(): number {
    return this.#waiting.size + this.#running.size
  }

  /** A file may be final now. A later hint for the same file replaces an earlier one. */
  hint(path: string, id: InodeId, by: 'name' | 'writer'): void {
    const leftOut = this.#parts.names.reason(path, 'f')
    if (leftOut === undefined) {
      this.#schedule(path, id, 0, by === 'name' ? NAME_DEBOUNCE_MS : WRITER_QUIET_MS)
    } else if (leftOut.secret) {
      this.#own(path, this.#parts.names.rememberSecret(id))
    }
  }

  /** The file has no name any more. */
  forget(id: InodeId): void {
    const key = inodeKey(id)
    this.#waiting.get(key)?.timer.cancel()
    this.#waiting.delete(key)
  }

  /**
   * Settles everything that waits now; what cannot be settled is left to its caller.
   *
   * @param signal ends the settling; what is left is in the queue again
   */
  async flush(signal?: AbortSignal): Promise<void> {
    for (const [key, waiting] of this.#waiting) {
      waiting.timer.cancel()
      this.#waiting.delete(key)
      this.#start(waiting, signal)
    }
    await Promise.all(this.#running)
  }

  /** Stops all of it and waits for what has begun. */
  async close(): Promise<void> {
    this.#stop.abort()
    for (const { timer } of this.#waiting.values()) {
      timer.cancel()
    }
    this.#waiting.clear()
    await Promise.all(this.#running)
  }

  #schedule(path: string, id: InodeId, attempt: number, afterMs: number): void {
    const key = inodeKey(id)
    this.forget(id)
    if (this.#stop.signal.aborted || this.#waiting.size >= MAX_WAITING) {
      return
    }
    const timer = this.#parts.clock.setTimeout(() => {
      const due = this.#waiting.get(key)
      if (due !== undefined) {
        this.#waiting.delete(key)
        this.#start(due)
      }
    }, afterMs)
    this.#waiting.set(key, { path, id, attempt, timer })
  }

  #start(waiting: Waiting, signal?: AbortSignal): void {
    this.#own(waiting.path, this.#settle(waiting, signal))
  }

  #own(path: string, work: Promise<void>): void {
    const job = work
      .catch((error: unknown) => {
        this.#parts.logger.error('settle failed', { path, reason: messageOf(error), error })
      })
      .finally(() => this.#running.delete(job))
    this.#running.add(job)
  }

  async #settle({ path, id, attempt }: Waiting, until?: AbortSignal): Promise<void> {
    const { logger } = this.#parts
    if (await this.#parts.names.isSecret(id)) {
      return
    }
    try {
      const stop = this.#stop.signal
      const signal = until === undefined ? stop : AbortSignal.any([stop, until])
      const outcome = await this.#parts.settle({ path, id, signal })
      if (outcome.state === 'withheld') {
        logger.warn('file is kept out of every root', { path, reason: outcome.reason })
      } else if (outcome.state === 'busy') {
        this.#again(path, id, attempt)
      }
    } catch (error) {
      logger.error('settle failed', { path, reason: messageOf(error), error })
      this.#again(path, id, attempt)
    }
  }

  #again(path: string, id: InodeId, attempt: number): void {
    const afterMs = RETRY_MS[attempt]
    // A newer hint has its own place in the queue.
    if (afterMs !== undefined && !this.#waiting.has(inodeKey(id))) {
      this.#schedule(path, id, attempt + 1, afterMs)
    }
  }
}
