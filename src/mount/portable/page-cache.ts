import type { BigIntStats } from 'node:fs'
import { inodeIdOf, inodeKey } from '../../tree/index.ts'
import type { Marks } from './marks.ts'
import type { OpenFiles } from './open-files.ts'

/**
 * What the kernel does with the pages of a name that is opened: keep those that it has, drop them
 * first, or use none for this descriptor, which then has no shared mapping (ENODEV).
 */
export type Caching = 'keep' | 'drop' | 'none'

/** A path takes about 200 bytes; of one that is not known the pages are read once more. */
const MAX_PATHS = 16_384

/** What the pages of a path are of. */
interface Known {
  key: string
  /** Moves with every change: what was written is read once more, by the next who opens it. */
  version: string
}

/**
 * Says of which files the kernel's pages are right. To libfuse 2, and so to the kernel, each name of
 * a file is a file with pages of its own, and nobody can tell it to drop some. A writable mapping of
 * one name would write old bytes over what was written by another; so who writes to a file of
 * several names gets no pages, and who reads it gets fresh ones at each open. A name that is gone
 * counts as long as the file is open by it.
 */
export class PageCache {
  readonly #marks: Pick<Marks, 'links' | 'ctimeNs'>
  readonly #files: Pick<OpenFiles, 'isOpenByAnother'>
  /** By path, the one that was used last at the end. */
  readonly #known = new Map<string, Known>()
  /** The one path by which an inode is known. */
  readonly #paths = new Map<string, string>()

  constructor(marks: Pick<Marks, 'links' | 'ctimeNs'>, files: Pick<OpenFiles, 'isOpenByAnother'>) {
    this.#marks = marks
    this.#files = files
  }

  /** @param path undefined where it is no name in the tree any more */
  opened(path: string | undefined, stats: BigIntStats, writable: boolean): Caching {
    if (path === undefined) {
      return 'drop'
    }
    const now = this.#knownOf(stats)
    if (this.#marks.links(stats) > 1 || this.#files.isOpenByAnother(now.key, path)) {
      this.#forget(path)
      this.#forget(this.#paths.get(now.key))
      return writable ? 'none' : 'drop'
    }
    const before = this.#known.get(path)
    this.#remember(path, now)
    return before?.key === now.key && before.version === now.version ? 'keep' : 'drop'
  }

  #knownOf(stats: BigIntStats): Known {
    const key = inodeKey(inodeIdOf(stats))
    return { key, version: `${this.#marks.ctimeNs(stats)} ${stats.size}` }
  }

  #remember(path: string, known: Known): void {
    this.#forget(path)
    this.#forget(this.#paths.get(known.key))
    this.#known.set(path, known)
    this.#paths.set(known.key, path)
    if (this.#known.size > MAX_PATHS) {
      const [oldest] = this.#known.keys()
      this.#forget(oldest)
    }
  }

  #forget(path: string | undefined): void {
    const known = path === undefined ? undefined : this.#known.get(path)
    if (path !== undefined && known !== undefined) {
      this.#known.delete(path)
      this.#paths.delete(known.key)
    }
  }
}
