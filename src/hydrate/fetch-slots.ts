/** Gives the room back; only the first call counts. */
export type Release = () => void

interface Waiting {
  go(): void
  onMove(): void
}

/**
 * Bounds the requests under way. Those that somebody waits for are served in order; read-ahead
 * takes what is free and never queues, so it can delay nobody by more than its own request.
 */
export class FetchSlots {
  readonly #limit: number
  readonly #aheadLimit: number
  /** In the order of their coming. */
  readonly #waiting = new Set<Waiting>()
  #used = 0
  #ahead = 0

  constructor(limit: number, aheadLimit: number) {
    this.#limit = limit
    this.#aheadLimit = aheadLimit
  }

  get used(): number {
    return this.#used
  }

  /** True when somebody waits for room. */
  get contended(): boolean {
    return this.#waiting.size > 0
  }

  /**
   * Waits for room, first come, first served.
   *
   * @param onMove - called whenever somebody before us got room: the wait goes on, and is no hang
   * @throws the reason of `signal`
   */
  async acquire(signal: AbortSignal, onMove: () => void): Promise<Release> {
    signal.throwIfAborted()
    if (this.#used >= this.#limit) {
      await this.#turn(signal, onMove)
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
        next.go()
        for (const waiting of this.#waiting) {
          waiting.onMove()
        }
      }
    }
  }

  #turn(signal: AbortSignal, onMove: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting.delete(waiting)
        reject(signal.reason)
      }
      const go = () => {
        signal.removeEventListener('abort', stop)
        onMove()
        resolve()
      }
      const waiting = { go, onMove }
      this.#waiting.add(waiting)
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}
