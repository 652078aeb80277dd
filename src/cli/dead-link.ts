import { open } from 'node:fs/promises'
import { ModelcacheError, tryFlock } from '../base/index.ts'
import { readServingMark, removeServingMark } from '../config/index.ts'
import { type OwnMount, rootOf } from './own-mounts.ts'

/**
 * Ends a mount without an engine whose daemon is dead: its link goes, and an empty directory takes
 * its place. The files stay in the store, with the mark that tells the next mount to compare all.
 *
 * @param evenIfHeld - the process that holds the store does not answer, and the link goes anyway
 * @throws ModelcacheError `store-locked` when somebody holds the store after all
 */
export async function removeDeadLink(mount: OwnMount, evenIfHeld: boolean): Promise<void> {
  const { removePlainLink } = await import('../mount/index.ts')
  const lock = await open(`${mount.store}/lock`, 'a', 0o600)
  try {
    if (!tryFlock(lock.fd) && !evenIfHeld) {
      throw new ModelcacheError(
        `unmount ${mount.mountpoint}: a process that does not answer holds the store ` +
          `${mount.store}; ${mount.store}/log/daemon.log says more`,
        { code: 'store-locked', exitCode: 1 },
      )
    }
    // Gone already is fine: another command may have been faster.
    const mark = await readServingMark(mount.store)
    removePlainLink(mount.mountpoint, rootOf(mount), mark?.directory)
    await removeServingMark(mount.store)
  } finally {
    await lock.close()
  }
}
