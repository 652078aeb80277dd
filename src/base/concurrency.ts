/** Runs a function as soon as there is room; passes on what it gives or throws. */
export type LimitedRun = <T>(fn: () => Promise<T> | T) => Promise<T>

/**
 * At most `limit` functions at a time, first come, first served.
 *
 * @returns `run`, to be called with each function
 */
export function limitConcurrency(limit: number): LimitedRun {
  const waiting: (() => void)[] = []
  let free = limit

  return async (fn) => {
    if (free === 0) {
      const { promise: turn, resolve } = Promise.withResolvers<void>()
      waiting.push(resolve)
      await turn
    } else {
      free -= 1
    }
    try {
      return await fn()
    } finally {
      const next = waiting.shift()
      if (next === undefined) {
        free += 1
      } else {
        next()
      }
    }
  }
}

/**
 * Runs `fn` over all items, at most `limit` at a time, without holding more than that of the
 * source. The first failure stops the rest and is thrown after what had started has ended.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  fn: (item: T) => Promise<void>,
): Promise<void> {
  const active = new Set<Promise<void>>()
  const failures: unknown[] = []
  for await (const item of items) {
    if (failures.length > 0) {
      break
    }
    const job: Promise<void> = fn(item)
      .catch((error: unknown) => {
        failures.push(error)
      })
      .finally(() => active.delete(job))
    active.add(job)
    if (active.size >= limit) {
      await Promise.race(active)
    }
  }
  await Promise.all(active)
  if (failures.length > 0) {
    throw failures[0]
  }
}
