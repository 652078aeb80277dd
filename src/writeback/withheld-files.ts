import { type InodeId, inodeKey, type Stamp, sameStamp } from '../tree/index.ts'

/** Enough for every damaged blob of a tree that is still of use; past it, a file is read again. */
const MAX_REMEMBERED = 4096

interface Withheld {
  stamp: Stamp
  /** Undefined where the content is the reason and not the name. */
  path: string | undefined
  reason: string
}

/**
 * Files that were read and must not enter a root, so that they are not read again at every
 * commit. Memory only: after a restart they are looked at once more.
 */
export class WithheldFiles {
  readonly #files = new Map<string, Withheld>()

  remember(id: InodeId, withheld: Withheld): void {
    const key = inodeKey(id)
    this.#files.delete(key)
    this.#files.set(key, withheld)
    const [oldest] = this.#files.keys()
    if (this.#files.size > MAX_REMEMBERED && oldest !== undefined) {
      this.#files.delete(oldest)
    }
  }

  /** Why this file stays out under this name, if that was found for this very content. */
  reasonFor(id: InodeId, path: string, stamp: Stamp): string | undefined {
    const found = this.#files.get(inodeKey(id))
    if (found === undefined || !sameStamp(found.stamp, stamp)) {
      return undefined
    }
    return found.path === undefined || found.path === path ? found.reason : undefined
  }

  forget(id: InodeId): void {
    this.#files.delete(inodeKey(id))
  }
}
