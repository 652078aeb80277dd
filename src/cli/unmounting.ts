import { lstat } from 'node:fs/promises'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { KEEPER_EXIT_MS } from '../config/index.ts'
import { type CommitAnswer, commitAnswer } from './commit-result.ts'
import type { Context } from './context.ts'
import { callDaemon, isDaemonAway } from './daemon-call.ts'
import { FOREIGN } from './foreign-store.ts'
import { holderLines } from './holders.ts'
import { askKeeper } from './keeper-socket.ts'
import { fuseMount, mountedOn, readMountTable } from './mount-table.ts'
import { type OwnMount, plainMountAt } from './own-mounts.ts'
import {
  logOf,
  type MountPulse,
  pulseOf,
  serverOf,
  takeAway,
  unmountLazily,
} from './stale-mount.ts'
import { isAlive, waitUntil } from './wait.ts'

export interface UnmountOptions {
  readonly timeoutMs: number
  /** Takes the mount away also while programs hold it, and if nothing answers. */
  readonly force: boolean
}

/** How a mount ended. */
export type Unmounted =
  | { readonly kind: 'drained'; readonly answer: CommitAnswer }
  /** Keeper or daemon was dead: the mount is gone, and what was not committed is in the store. */
  | { readonly kind: 'stale'; readonly dirty: boolean }

/** Commits, drains and unmounts, and returns when keeper and daemon have ended. */
export async function unmountMount(
  mount: OwnMount,
  options: UnmountOptions,
  context: Pick<Context, 'signal'>,
): Promise<Unmounted> {
  const pulse = await pulseOf(mount, context.signal)
  const keeper = pulse === 'alive' ? await askKeeper(mount.store, context.signal) : undefined
  if (keeper === undefined) {
    return unmountDead(mount, pulse, options, context.signal)
  }
  try {
    const answer = commitAnswer(
      await callDaemon(mount.store, 'unmount', { ...options }, { signal: context.signal }),
    )
    await waitForEnd(mount, keeper.pid, context.signal)
    return { kind: 'drained', answer }
  } catch (error) {
    if (error instanceof ModelcacheError && error.code === 'busy') {
      throw await busyError(mount, error)
    }
    if (isDaemonAway(error) && (options.force || !(await isMounted(mount)))) {
      return endWithoutDaemon(mount, keeper.pid, context.signal)
    }
    throw error
  }
}

/**
 * The daemon is gone for good, or went after it had unmounted. What it had not committed is in the
 * store, and the keeper has nothing more to hold.
 */
async function endWithoutDaemon(
  mount: OwnMount,
  keeperPid: number,
  signal: AbortSignal,
): Promise<Unmounted> {
  if (mount.engine !== 'none' && (await isMounted(mount))) {
    await unmountLazily(mount.mountpoint, signal)
  }
  if (await isAlive(keeperPid)) {
    process.kill(keeperPid, 'SIGTERM')
  }
  await waitForEnd(mount, keeperPid, signal)
  return { kind: 'stale', dirty: await exists(`${mount.store}/unclean`) }
}

async function unmountDead(
  mount: OwnMount,
  pulse: MountPulse,
  options: UnmountOptions,
  signal: AbortSignal,
): Promise<Unmounted> {
  if (pulse === 'foreign') {
    throw new ModelcacheError(
      `unmount ${mount.mountpoint}: it ${FOREIGN}; its owner can unmount it, and root`,
      { code: 'permission', exitCode: 1 },
    )
  }
  if (!options.force && pulse !== 'dead') {
    throw new ModelcacheError(
      `unmount ${mount.mountpoint}: its ${serverOf(mount)} does not answer, and the mount is not ` +
        `dead; --force takes it away, ${logOf(mount)} says more`,
      { code: 'keeper-silent', exitCode: 1 },
    )
  }
  await takeAway(mount, signal, options.force)
  return { kind: 'stale', dirty: await exists(`${mount.store}/unclean`) }
}

async function busyError(mount: OwnMount, cause: ModelcacheError): Promise<ModelcacheError> {
  const lines = await holderLines(mount.mountpoint)
  const holders = lines.length === 0 ? ['by whom cannot be seen; root could'] : lines
  return new ModelcacheError(
    `unmount ${mount.mountpoint}: it is busy; end what holds it, or use --force:\n` +
      holders.map((line) => `  ${line}`).join('\n'),
    { code: 'busy', exitCode: 1, cause },
  )
}

/** The answer comes before the end: the daemon writes it, then closes, and the keeper follows. */
async function waitForEnd(mount: OwnMount, keeperPid: number, signal: AbortSignal): Promise<void> {
  const isGone = async () => !(await isMounted(mount)) && !(await isAlive(keeperPid))
  if (!(await waitUntil(isGone, KEEPER_EXIT_MS, signal))) {
    throw new ModelcacheError(
      `unmount ${mount.mountpoint}: the mount is gone, but its ${serverOf(mount)} (process ` +
        `${keeperPid}) has not ended after ${KEEPER_EXIT_MS / 1000} s; ${logOf(mount)} says more`,
      { code: 'keeper-stays', exitCode: 1 },
    )
  }
}

async function isMounted(mount: OwnMount): Promise<boolean> {
  if (mount.engine === 'none') {
    return (await plainMountAt(mount.mountpoint)) !== undefined
  }
  // The kernel gives a number out again: only the source says whose mount it is.
  const entry = mountedOn(await readMountTable(), mount.mountpoint)
  const own = entry === undefined ? undefined : fuseMount(entry)
  return own?.device === mount.device && own.store === mount.store
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return false
    }
    throw error
  }
}
