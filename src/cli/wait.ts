import { readFile } from 'node:fs/promises'
import { delay, isErrno, systemClock } from '../base/index.ts'

/** Between two looks at something that announces nothing, such as the end of another process. */
const LOOK_EVERY_MS = 20

/**
 * Looks until a condition holds.
 *
 * @returns whether it held within the time
 */
export async function waitUntil(
  condition: () => Promise<boolean> | boolean,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const end = systemClock.monotonicMs() + timeoutMs
  while (!(await condition())) {
    if (systemClock.monotonicMs() >= end) {
      return false
    }
    await delay(LOOK_EVERY_MS, signal)
  }
  return true
}

/**
 * Whether a process runs, also one that belongs to another user. One that has ended and waits for
 * its parent to ask does not count: an init of a container may never ask.
 */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything; the state is the first field behind it.
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(')') + 1))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) {
      return false
    }
    throw error
  }
}
