import { delay, systemClock } from '../base/index.ts'

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

/** Whether a process exists, also one that belongs to another user. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
