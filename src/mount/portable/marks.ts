import type { BigIntStats } from 'node:fs'
import { type InodeId, inodeIdOf, stampOf } from '../../tree/index.ts'
import type { LocalTree } from '../local/local-tree.ts'
import { parentOf } from './native-path.ts'

/**
 * Tells the tree what changed. Names that are not UTF-8 never enter a root, nor does anything
 * below one, so the tree hears of the directories around them only.
 */
export class Marks {
  readonly #tree: LocalTree

  constructor(tree: LocalTree) {
    this.#tree = tree
  }

  /** How many names a file has, without the links of ours. */
  links(stats: BigIntStats): number {
    const links = Number(stats.nlink)
    return stats.isFile() ? Math.max(0, links - this.#tree.ourLinks(inodeIdOf(stats))) : links
  }

  /** Without the moments in which we made or removed our links. */
  ctimeNs(stats: BigIntStats): bigint {
    return this.#tree.shownCtimeNs(inodeIdOf(stats), stats.ctimeNs)
  }

  /** Right before the file is opened for writing or truncated, with nothing awaited in between. */
  willWrite(stats: BigIntStats, path: string | undefined): void {
    const links = this.links(stats)
    this.#tree.willWrite(inodeIdOf(stats), heardOf(path), links)
  }

  created(id: InodeId, path: string): void {
    this.#tree.created(id)
    this.changed(parentOf(path))
  }

  changed(directory: string, explicit = false): void {
    if (directory.isWellFormed()) {
      this.#tree.changedDirectory(directory, explicit)
    }
  }

  /** Mode, owner, times or attributes of what has this path were set by a program. */
  edited(before: BigIntStats, after: BigIntStats, path: string | undefined): void {
    if (path !== undefined && before.isDirectory()) {
      this.changed(path, true)
    }
    this.changedEntry(before, path)
    this.moved(before, after)
  }

  /** What a listing says of a file or directory is another now, under each of its names. */
  changedEntry(stats: BigIntStats, path: string | undefined): void {
    if (path === undefined ? this.links(stats) === 0 : path === '') {
      return
    }
    if (stats.isFile() || path === undefined) {
      this.#tree.changedFile(heardOf(path), this.links(stats))
    } else {
      this.changed(parentOf(path))
    }
  }

  /** The content is what it was, the stamp is not. */
  moved(before: BigIntStats, after: BigIntStats): void {
    if (before.isFile()) {
      this.#tree.stampMoved(inodeIdOf(before), stampOf(before), stampOf(after))
    }
  }

  final(id: InodeId, path: string, by: 'name' | 'writer'): void {
    if (path.isWellFormed()) {
      this.#tree.final(id, path, by)
    }
  }

  /** @param below directories in it: they were never told of while `from` was not UTF-8 */
  movedDirectory(from: string, to: string, below: () => Iterable<string>): void {
    const [wasHeardOf, isHeardOf] = [from.isWellFormed(), to.isWellFormed()]
    if (wasHeardOf && isHeardOf) {
      this.#tree.movedDirectory(from, to)
    } else if (wasHeardOf) {
      this.#tree.removedDirectory(from)
    } else if (isHeardOf) {
      for (const path of below()) {
        this.changed(path)
      }
    }
    this.changed(to)
  }

  removedDirectory(path: string, id: InodeId): void {
    if (path.isWellFormed()) {
      this.#tree.removedDirectory(path)
    }
    this.#tree.gone(id)
  }

  gone(id: InodeId): void {
    this.#tree.gone(id)
  }
}

/**
 * A path for which only its directory counts: the deepest one that is heard of, for a file in one
 * that is not.
 */
function heardOf(path: string | undefined): string | undefined {
  if (path === undefined || path.isWellFormed()) {
    return path
  }
  const names = path.split('/')
  return [
    ...names.slice(
      0,
      names.findIndex((name) => !name.isWellFormed()),
    ),
    'unheard',
  ].join('/')
}
