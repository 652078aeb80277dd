import { setTimeout as delay } from 'node:timers/promises'

/** Between two looks at a condition; short against every deadline, long against a system call. */
const POLL_MS = 20

/**
 * Waits until `condition` gives something other than false or undefined, and returns it.
 *
 * @throws Error naming `what` and the condition's last error when `deadlineMs` have passed
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | false | undefined | Promise<T | false | undefined>,
  deadlineMs = 30_000,
): Promise<T> {
  const end = performance.now() + deadlineMs
  let last: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value !== false && value !== undefined) return value
    } catch (error) {
      last = error
    }
    if (performance.now() > end) {
      throw new Error(`waited ${deadlineMs} ms for ${what}`, { cause: last })
    }
    await delay(POLL_MS)
  }
}
