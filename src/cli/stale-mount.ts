import { spawn } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { isErrno, ModelcacheError, withDeadline } from '../base/index.ts'
import { STATUS_DEADLINE_MS } from '../config/index.ts'
import { askKeeper } from './keeper-socket.ts'
import type { OwnMount } from './mount-table.ts'

/**
 * Whether a mount's keeper is dead. The kernel says so: ENOTCONN, or ECONNABORTED on what was in
 * flight. A keeper that listens is alive, however slow it is.
 */
export async function isStale(mount: OwnMount, signal?: AbortSignal): Promise<boolean> {
  if ((await askKeeper(mount.store, signal))?.mountpoint === mount.mountpoint) {
    return false
  }
  const deadline = withDeadline(signal, STATUS_DEADLINE_MS)
  const { promise: late, resolve: giveUp } = Promise.withResolvers<false>()
  // A mount that does not answer at all is not dead: somebody may have stopped its keeper.
  deadline.addEventListener('abort', () => giveUp(false), { once: true })
  return Promise.race([isDisconnected(mount.mountpoint), late])
}

async function isDisconnected(mountpoint: string): Promise<boolean> {
  try {
    await stat(mountpoint)
    return false
  } catch (error) {
    if (isErrno(error, 'ENOTCONN', 'ECONNABORTED')) {
      return true
    }
    throw error
  }
}

/**
 * Takes a mount out of the name space at once; who still holds it keeps what is dead.
 * umount and fusermount3 both mean `MNT_DETACH`; an ordinary user has only the second.
 */
export async function unmountLazily(mountpoint: string, signal?: AbortSignal): Promise<void> {
  const attempts: [string, string[]][] =
    process.getuid?.() === 0
      ? [
          ['umount', ['--internal-only', '--no-canonicalize', '--lazy', '--', mountpoint]],
          ['fusermount3', ['-u', '-z', '--', mountpoint]],
        ]
      : [['fusermount3', ['-u', '-z', '--', mountpoint]]]
  const reasons: string[] = []
  for (const [command, args] of attempts) {
    const failure = await tryCommand(command, args, signal)
    if (failure === undefined) {
      return
    }
    reasons.push(failure)
  }
  throw new ModelcacheError(`unmount ${mountpoint}: ${reasons.join('; ')}`, {
    code: 'unmount-failed',
    exitCode: 1,
  })
}

/** Runs a command; gives the reason if it failed, so that the next one can be tried. */
function tryCommand(
  command: string,
  args: string[],
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = signal === undefined ? {} : { signal }
    const child = spawn(command, args, {
      ...options,
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
    })
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(0, 1000)
    })
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code) =>
      resolve(code === 0 ? undefined : text.trim() || `${command} ended with ${code}`),
    )
  })
}
