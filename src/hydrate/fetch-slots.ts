/** Gives the room back; only the first call counts. */
export type Release = () => void

/**
 * Bounds the requests under way. Those that somebody waits for are served in order; read-ahead
 * takes what is free and never queues, so it can delay nobody by more than its own request.
 */
export class FetchSlots {
  readonly #limit: number
  readonly #aheadLimit: number
  readonly #waiting = new Set<() => void>()
  #used = 0
  #ahead = 0

  constructor(limit: number, aheadLimit: number) {
    this.#limit = limit
    this.#aheadLimit = aheadLimit
  }

  get used(): number {
    return this.#used
  }

  /** Waits for room, first come, first served; rejects with the reason of `signal`. */
  async acquire(signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted()
    if (this.#used >= this.#limit) {
      await this.#turn(signal)
    } else {
      this.#used += 1
    }
    return this.#release(() => undefined)
  }

  /** Room for read-ahead, or undefined where there is none now. */
  tryAcquireAhead(): Release | undefined {
    if (this.#used >= this.#limit || this.#ahead >= this.#aheadLimit) {
      return undefined
    }
    this.#used += 1
    this.#ahead += 1
    return this.#release(() => {
      this.#ahead -= 1
    })
  }

  #release(also: () => void): Release {
    let released = false
    return () => {
      if (released) {
        return
      }
      released = true
      also()
      const [next] = this.#waiting
      if (next === undefined) {
        this.#used -= 1
      } else {
        // The room is handed over: `#used` counts it all the time.
        this.#waiting.delete(next)
        next()
      }
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', stop)
        resolve()
      }
      const stop = () => {
        this.#waiting.delete(go)
        reject(signal.reason)
      }
      this.#waiting.add(go)
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}
