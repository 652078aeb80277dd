/**
 * Maps items in order, with up to `ahead` of them under way before their turn. When the reader
 * stops early, or one fails, what is under way is waited for and dropped.
 */
export async function* mapAhead<T, U>(
  items: Iterable<T>,
  ahead: number,
  fn: (item: T) => Promise<U>,
): AsyncGenerator<U> {
  const pending: Promise<U>[] = []
  try {
    for (const item of items) {
      const job = fn(item)
      // Failures are thrown when their turn comes, not before.
      job.catch(() => undefined)
      pending.push(job)
      const first = pending.length > ahead ? pending.shift() : undefined
      if (first !== undefined) {
        yield await first
      }
    }
    for (let job = pending.shift(); job !== undefined; job = pending.shift()) {
      yield await job
    }
  } finally {
    await Promise.allSettled(pending)
  }
}
