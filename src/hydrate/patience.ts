import {
  type Clock,
  codeOf,
  delay,
  isErrno,
  ModelcacheError,
  messageOf,
  systemClock,
  type Timer,
} from '../base/index.ts'
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS } from './limits.ts'

/** Code of a request that was stopped since nobody waited; a reader that just joined asks again. */
export const ABANDONED = 'abandoned'

/**
 * How long one caller waits: until nothing has come for `deadlineMs`. Trying again is decided
 * here too, so that a peer that comes back within that time is found.
 */
export class Patience {
  /** Aborts at the deadline (ModelcacheError `deadline`), or with the caller's own signal. */
  readonly signal: AbortSignal
  readonly #controller = new AbortController()
  readonly #deadlineMs: number
  readonly #clock: Clock
  readonly #outer: AbortSignal | undefined
  #timer: Timer
  #pauseMs = FIRST_PAUSE_MS
  #lastError: unknown

  constructor(deadlineMs: number, outer?: AbortSignal, clock: Clock = systemClock) {
    this.signal = this.#controller.signal
    this.#deadlineMs = deadlineMs
    this.#clock = clock
    this.#outer = outer
    this.#timer = this.#start()
    if (outer?.aborted) {
      this.#stop()
    } else {
      outer?.addEventListener('abort', this.#stop, { once: true })
    }
  }

  /** Something arrived: the deadline begins anew. */
  progress(): void {
    this.#pauseMs = FIRST_PAUSE_MS
    if (!this.signal.aborted) {
      this.#timer.cancel()
      this.#timer = this.#start()
    }
  }

  /**
   * After a failed try: waits a while, longer each time, or throws what is final.
   *
   * @throws the error itself where another try is in vain, else `deadline` when the time is over
   */
  async pauseAfter(error: unknown): Promise<void> {
    if (this.signal.aborted) {
      throw this.#reason(error)
    }
    if (!mayPass(error)) {
      throw error
    }
    this.#lastError = error
    const pauseMs = this.#pauseMs
    this.#pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    try {
      await delay(pauseMs, this.signal, this.#clock)
    } catch {
      // Only the signal ends a delay early, and it is the reason to be told.
      throw this.#reason(error)
    }
  }

  /** Waits for `work`; ends early, with the reason to be told, when the signal aborts. */
  async wait<T>(work: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>()
    const stop = () => reject(this.#reason(this.#lastError))
    if (this.signal.aborted) {
      stop()
    }
    this.signal.addEventListener('abort', stop, { once: true })
    try {
      return await Promise.race([work, promise])
    } finally {
      this.signal.removeEventListener('abort', stop)
    }
  }

  /** Tries until it works, the deadline passes, or trying again is in vain. */
  async persist<T>(attempt: () => Promise<T>): Promise<T> {
    while (true) {
      try {
        const result = await this.wait(attempt())
        this.progress()
        return result
      } catch (error) {
        await this.pauseAfter(error)
      }
    }
  }

  end(): void {
    this.#timer.cancel()
    this.#outer?.removeEventListener('abort', this.#stop)
  }

  /** The caller wants to know why nothing came, not only that the time is over. */
  #reason(last: unknown): unknown {
    const reason: unknown = this.signal.reason
    if (last === undefined || last === reason || codeOf(reason) !== 'deadline') {
      return reason
    }
    return new ModelcacheError(`${messageOf(last)}; given up after ${this.#deadlineMs} ms`, {
      code: 'deadline',
      errno: 'EIO',
      cause: last,
    })
  }

  #start(): Timer {
    return this.#clock.setTimeout(() => {
      this.#controller.abort(
        new ModelcacheError(`nothing came within ${this.#deadlineMs} ms`, {
          code: 'deadline',
          errno: 'EIO',
        }),
      )
    }, this.#deadlineMs)
  }

  readonly #stop = (): void => {
    this.#timer.cancel()
    this.#controller.abort(this.#outer?.reason)
  }
}

/** Failures of peers pass; a DAG that is no file or a full disk does not within our time. */
function mayPass(error: unknown): boolean {
  const code = codeOf(error)
  return (
    code === 'unavailable' || code === ABANDONED || isErrno(error, 'EAGAIN', 'EMFILE', 'ENFILE')
  )
}
