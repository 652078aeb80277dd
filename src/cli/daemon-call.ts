import { statfs } from 'node:fs/promises'
import { delay, ModelcacheError, systemClock } from '../base/index.ts'
import { DAEMON_RETURN_MS } from '../config/index.ts'
import { askKeeper } from './keeper-socket.ts'

/** What a command hears while it waits. */
export interface CallOptions {
  readonly signal: AbortSignal
  readonly onProgress?: (progress: unknown) => void
  readonly onBytes?: (bytes: Uint8Array) => void
  /** How long to wait for a daemon that is being restarted. */
  readonly patienceMs?: number
}

/** Between two tries to reach a daemon that the keeper is starting again. */
const RETRY_MS = 100

/** With less than this free a disk is full: nothing of use can be written. */
const FULL_DISK_BYTES = 1024 ** 2

/**
 * Asks the daemon of a store. While the keeper lives and the daemon is being restarted, it waits
 * for the daemon's return and asks again: every operation may be asked for twice.
 *
 * @returns the answer's `ok` value
 * @throws ModelcacheError with the daemon's code and exit code; `daemon-away` if none answers
 */
export async function callDaemon(
  store: string,
  op: string,
  args: Readonly<Record<string, unknown>>,
  options: CallOptions,
): Promise<unknown> {
  const { controlClient } = await import('../daemon/index.ts')
  const giveUpAt = systemClock.monotonicMs() + (options.patienceMs ?? DAEMON_RETURN_MS)
  for (;;) {
    try {
      return await controlClient(store).call(op, args, options)
    } catch (error) {
      if (!isDaemonAway(error)) {
        throw error
      }
      if (await isDiskFull(store)) {
        // It cannot write into its log either.
        throw away(
          store,
          `no space is left on the disk of ${store}; free some, and ask again`,
          error,
        )
      }
      const keeper = await askKeeper(store)
      if (keeper?.daemon?.trouble) {
        throw away(store, `it cannot be started: ${keeper.daemon.trouble}`, error)
      }
      if (systemClock.monotonicMs() > giveUpAt || keeper === undefined) {
        throw away(store, 'it does not answer', error)
      }
    }
    await delay(RETRY_MS, options.signal)
  }
}

function away(store: string, reason: string, cause: unknown): ModelcacheError {
  return new ModelcacheError(
    `ask the daemon of ${store}: ${reason}; ${store}/log/daemon.log says more`,
    { code: 'daemon-away', exitCode: 1, cause },
  )
}

/** A daemon that has no room to open its database waits for it. */
async function isDiskFull(store: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(store)
  return bavail * bsize < FULL_DISK_BYTES
}

/** Whether an error says that no daemon listens, and not that it refused. */
export function isDaemonAway(error: unknown): boolean {
  return error instanceof ModelcacheError && error.code === 'daemon-away'
}
