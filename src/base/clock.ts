import {
  setImmediate as soon,
  setTimeout as startTimer,
  clearTimeout as stopTimer,
} from 'node:timers'
import { ModelcacheError } from './errors.ts'

/** A timer that can be stopped; `cancel` may be called any number of times. */
export interface Timer {
  cancel(): void
}

/** The only door to the time. Tests pass their own. */
export interface Clock {
  /** Wall time: for people and file times, never for measuring. */
  now(): Date
  /** Milliseconds that never jump. */
  monotonicMs(): number
  /** Calls `fn` once; a timer does not keep the process alive. */
  setTimeout(fn: () => void, ms: number): Timer
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  setTimeout(fn, ms) {
    const timer = startTimer(fn, ms)
    timer.unref()
    return { cancel: () => stopTimer(timer) }
  },
}

/**
 * A signal that aborts when `signal` does, or after `ms` with a ModelcacheError of code
 * `deadline` and errno `EIO`: a local disk that does not answer says the same.
 */
export function withDeadline(
  signal: AbortSignal | undefined,
  ms: number,
  clock: Pick<Clock, 'setTimeout'> = systemClock,
): AbortSignal {
  if (signal?.aborted) {
    return signal
  }
  const controller = new AbortController()
  const forward = () => {
    timer.cancel()
    controller.abort(signal?.reason)
  }
  const timer = clock.setTimeout(() => {
    signal?.removeEventListener('abort', forward)
    controller.abort(
      new ModelcacheError(`no answer within ${ms} ms`, { code: 'deadline', errno: 'EIO' }),
    )
  }, ms)
  signal?.addEventListener('abort', forward, { once: true })
  return controller.signal
}

/** Resolves after `ms`; rejects with the signal's reason when that aborts first. */
export function delay(
  ms: number,
  signal?: AbortSignal,
  clock: Pick<Clock, 'setTimeout'> = systemClock,
): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const stop = () => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    signal?.addEventListener('abort', stop, { once: true })
  })
}

/** Lets signals, messages and timers that wait have their turn; for long work on this thread. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    soon(resolve)
  })
}
