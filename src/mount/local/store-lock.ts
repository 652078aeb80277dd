import { closeSync, constants, fsyncSync, openSync, unlinkSync } from 'node:fs'
import { isErrno, ModelcacheError, tryFlock } from '../../base/index.ts'
import { hasUnseenWriters, type StorePaths } from '../../tree/index.ts'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_WRONLY } = constants

/** A store that belongs to this process until `release`. */
export interface StoreLock {
  /** The `unclean` mark was not there: the last stop was clean. */
  readonly clean: boolean
  /**
   * Nothing is dirty and no engine has anything to tell: takes the mark away, durably, unless
   * somebody may still write unseen (`hasUnseenWriters`).
   */
  markClean(): void
  /** Lets the lock go; again is fine. */
  release(): void
}

/**
 * Locks a store and marks it unclean, durably: from here on the tree may change.
 *
 * @throws ModelcacheError `store-locked` where another mount has it
 */
export function lockStore(paths: Pick<StorePaths, 'store' | 'lock' | 'unclean'>): StoreLock {
  const lock = openSync(paths.lock, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
  try {
    if (!tryFlock(lock)) {
      throw new ModelcacheError(`store ${paths.store}: another mount uses it`, {
        code: 'store-locked',
        exitCode: 1,
      })
    }
    const clean = markUnclean(paths)
    return new Held(paths, lock, clean)
  } catch (error) {
    closeSync(lock)
    throw error
  }
}

class Held implements StoreLock {
  readonly clean: boolean
  readonly #paths: Pick<StorePaths, 'store' | 'unclean'>
  #lock: number | undefined

  constructor(paths: Pick<StorePaths, 'store' | 'unclean'>, lock: number, clean: boolean) {
    this.#paths = paths
    this.#lock = lock
    this.clean = clean
  }

  markClean(): void {
    if (hasUnseenWriters(this.#paths)) {
      return
    }
    try {
      unlinkSync(this.#paths.unclean)
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        throw error
      }
    }
    fsyncFolder(this.#paths.store)
  }

  release(): void {
    if (this.#lock !== undefined) {
      closeSync(this.#lock)
      this.#lock = undefined
    }
  }
}

/** True if the mark was not there. */
function markUnclean({ store, unclean }: Pick<StorePaths, 'store' | 'unclean'>): boolean {
  try {
    closeSync(openSync(unclean, O_WRONLY | O_CREAT | O_EXCL, 0o600))
  } catch (error) {
    if (isErrno(error, 'EEXIST')) {
      return false
    }
    throw error
  }
  fsyncFolder(store)
  return true
}

/** Synchronous: callers answer a program right after. */
export function fsyncFolder(path: string): void {
  const fd = openSync(path, O_RDONLY | O_DIRECTORY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
