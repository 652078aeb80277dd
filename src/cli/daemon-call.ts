import { delay, isErrno, ModelcacheError, systemClock } from '../base/index.ts'
import { DAEMON_RETURN_MS } from '../config/index.ts'
import { askKeeper } from './keeper-socket.ts'

/** What a command hears while it waits. */
export interface CallOptions {
  readonly signal: AbortSignal
  readonly onProgress?: (progress: unknown) => void
}

/** Between two tries to reach a daemon that the keeper is starting again. */
const RETRY_MS = 100

/** The connection went before the answer came. Every operation may be asked for again. */
const AWAY = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'] as const

/**
 * Asks the daemon of a store. While the keeper lives and the daemon is being restarted, it waits
 * for the daemon's return.
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
  const giveUpAt = systemClock.monotonicMs() + DAEMON_RETURN_MS
  for (;;) {
    try {
      return await controlClient(store).call(op, args, options)
    } catch (error) {
      if (!isDaemonAway(error)) {
        throw error
      }
      if (systemClock.monotonicMs() > giveUpAt || (await askKeeper(store)) === undefined) {
        throw new ModelcacheError(
          `ask the daemon of ${store}: it does not answer; ${store}/log/daemon.log says more`,
          { code: 'daemon-away', exitCode: 1, cause: error },
        )
      }
    }
    await delay(RETRY_MS, options.signal)
  }
}

/** Whether an error says that no daemon listens, and not that it refused. */
export function isDaemonAway(error: unknown): boolean {
  if (error instanceof ModelcacheError && error.code === 'daemon-away') {
    return true
  }
  const cause = error instanceof ModelcacheError ? error.cause : undefined
  return isErrno(error, ...AWAY) || isErrno(cause, ...AWAY)
}
