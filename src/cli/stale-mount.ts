import { spawn } from 'node:child_process'
import { ModelcacheError, withDeadline } from '../base/index.ts'
import { removeServingMark, STATUS_DEADLINE_MS } from '../config/index.ts'
import { removeDeadLink } from './dead-link.ts'
import { isForeign } from './foreign-store.ts'
import { askKeeper } from './keeper-socket.ts'
import type { OwnMount } from './own-mounts.ts'

/**
 * How a mount answers: `silent` is neither dead nor alive, such as one whose keeper is stopped;
 * `foreign` belongs to another user, and cannot be asked.
 */
export type MountPulse = 'alive' | 'dead' | 'silent' | 'foreign'

/** What holds a mount, in the words of messages. */
export function serverOf({ engine }: Pick<OwnMount, 'engine'>): 'keeper' | 'daemon' {
  return engine === 'native' ? 'keeper' : 'daemon'
}

/** Where it writes what a message has no room for. */
export function logOf({ engine, store }: Pick<OwnMount, 'engine' | 'store'>): string {
  return `${store}/log/${serverOf({ engine })}.log`
}

/**
 * Whether a mount's keeper lives. A keeper that listens is alive, however slow it is. Of one that
 * does not, the kernel knows: ENOTCONN, or ECONNABORTED for what was in flight.
 */
export async function pulseOf(mount: OwnMount, signal?: AbortSignal): Promise<MountPulse> {
  try {
    const keeper = await askKeeper(mount.store, signal)
    if (keeper?.mountpoint === mount.mountpoint) {
      return 'alive'
    }
  } catch (error) {
    if (error instanceof ModelcacheError && error.code === 'keeper-silent') {
      return 'silent'
    }
    if (isForeign(error)) {
      return 'foreign'
    }
    throw error
  }
  if (mount.engine === 'none') {
    // A link needs nobody to answer for it.
    return 'dead'
  }
  const answer = await statfsAside(mount.mountpoint, withDeadline(signal, STATUS_DEADLINE_MS))
  return answer === 'ENOTCONN' || answer === 'ECONNABORTED' ? 'dead' : 'silent'
}

/** Whether a mount is dead, so that taking it away loses nothing. */
export async function isStale(mount: OwnMount, signal?: AbortSignal): Promise<boolean> {
  return (await pulseOf(mount, signal)) === 'dead'
}

/**
 * Takes a mount away whose keeper or daemon is dead; what it held stays in the store.
 *
 * @param force - also if that is only silent
 */
export async function takeAway(
  mount: OwnMount,
  signal?: AbortSignal,
  force = false,
): Promise<void> {
  if (mount.engine === 'none') {
    await removeDeadLink(mount, force)
    return
  }
  await unmountLazily(mount.mountpoint, signal)
  if (mount.engine === 'fuse-native') {
    await removeServingMark(mount.store)
  }
}

const STATFS_SCRIPT = `
  require('node:fs').statfs(process.argv[1], (error) => {
    process.stdout.write(error ? error.code : 'ok')
  })`

/**
 * statfs(2), which the kernel never answers by itself as it does stat(2) from cached attributes.
 * In a process of its own: where nobody answers, the call never returns, and a thread of ours that
 * waits in it would keep us from ending. A process can be killed there.
 *
 * @returns `ok`, the error's name, or an empty string if there was no answer in time
 */
function statfsAside(path: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['-e', STATFS_SCRIPT, path], {
      stdio: ['ignore', 'pipe', 'ignore'],
      cwd: '/',
      env: {},
      signal,
      killSignal: 'SIGKILL',
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    child.on('error', () => resolve(''))
    child.on('close', () => resolve(text))
  })
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
