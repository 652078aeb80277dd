import { ModelcacheError } from '../base/index.ts'
import { ABANDONED, type Patience } from './patience.ts'

/** One request for a run of extents. */
export interface FetchJob {
  readonly controller: AbortController
  /** Reads that wait for it; a job that nobody waits for is stopped, unless it reads ahead. */
  waiters: number
  /** Told when it moves up in the queue, or starts: for those who wait, that is progress. */
  readonly listeners: Set<() => void>
  readonly ahead: boolean
  /** Settles when the job has ended, in whatever way; never rejects. */
  done: Promise<void>
}

/** One extent on its way. */
export interface Flight {
  readonly job: FetchJob
  readonly arrived: Promise<void>
}

export function newFetchJob(ahead: boolean): FetchJob {
  return {
    controller: new AbortController(),
    waiters: 0,
    listeners: new Set(),
    ahead,
    done: Promise.resolve(),
  }
}

/**
 * Waits until all have arrived or failed, and gives the first failure. A job that nobody waits
 * for any more afterwards is stopped.
 *
 * @throws what `patience` throws when the time is over
 */
export async function waitForFlights(
  flights: readonly Flight[],
  patience: Patience,
): Promise<unknown> {
  const jobs = new Set(flights.map((flight) => flight.job))
  const progress = () => patience.progress()
  for (const job of jobs) {
    job.waiters += 1
    job.listeners.add(progress)
  }
  const arrivals = flights.map(async (flight) => {
    await flight.arrived
    progress()
  })
  try {
    const outcomes = await patience.wait(Promise.allSettled(arrivals))
    return outcomes.find((outcome) => outcome.status === 'rejected')?.reason
  } finally {
    for (const job of jobs) {
      job.waiters -= 1
      job.listeners.delete(progress)
      if (job.waiters === 0 && !job.ahead) {
        job.controller.abort(abandoned('nobody waits for it any more'))
      }
    }
  }
}

/** Ended by us and not by a failure: who still waits, or just joined, asks again. */
export function abandoned(reason: string): ModelcacheError {
  return new ModelcacheError(reason, { code: ABANDONED, errno: 'EIO' })
}
