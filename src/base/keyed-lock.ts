/**
 * Mutual exclusion by key: functions with the same key run one after the other, in the order of
 * their calls. Not reentrant. A key costs memory only while somebody uses it.
 */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  /** Runs `fn` when everyone who asked for this key before is done; passes on what it gives. */
  async run<T>(key: string, fn: () => Promise<T> | T): Promise<T> {
    const previous = this.#tails.get(key)
    const { promise: tail, resolve: release } = Promise.withResolvers<void>()
    this.#tails.set(key, tail)
    try {
      await previous
      return await fn()
    } finally {
      if (this.#tails.get(key) === tail) {
        this.#tails.delete(key)
      }
      release()
    }
  }

  /** How many keys are held or waited for. */
  get size(): number {
    return this.#tails.size
  }
}
