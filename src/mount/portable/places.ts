import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs'
import { ModelcacheError, O_PATH, openBeneath } from '../../base/index.ts'
import { type InodeId, inodeIdOf, inodeKey } from '../../tree/index.ts'
import { below, nameOf, parentOf, toNative } from './native-path.ts'

/** A directory that is open for a moment. */
export interface OpenDirectory {
  /** `O_PATH`. */
  fd: number
  /** Where the system finds it: `/proc/self/fd/N`. */
  at: string
}

/** A file, whatever its kind, that stays reachable while this is open. */
export interface Pin {
  /** `O_PATH`, on the file itself, also where that is a symbolic link. */
  fd: number
  /** Leads to the file itself when it is followed. */
  at: string
  stats: BigIntStats
  id: InodeId
  key: string
}

/** Where the system finds what a descriptor is open on. */
export function procPath(fd: number): string {
  return `/proc/self/fd/${fd}`
}

export function pinOf(fd: number): Pin {
  const stats = fstatSync(fd, { bigint: true })
  const id = inodeIdOf(stats)
  return { fd, at: procPath(fd), stats, id, key: inodeKey(id) }
}

/**
 * From a path of libfuse to the file. Every path is opened beneath the tree and no link in it is
 * followed, so none leads out, whatever was renamed since the kernel looked.
 */
export class Places {
  readonly #rootFd: number
  readonly #device: bigint

  constructor(tree: string) {
    this.#rootFd = openSync(tree, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    this.#device = fstatSync(this.#rootFd, { bigint: true }).dev
  }

  /** `act` must be done with the directory when it returns. */
  inDirectory<T>(path: string, act: (directory: OpenDirectory) => T): T {
    if (path === '') {
      return act({ fd: this.#rootFd, at: procPath(this.#rootFd) })
    }
    const fd = this.open(path, O_PATH | constants.O_DIRECTORY)
    try {
      return act({ fd, at: procPath(fd) })
    } finally {
      closeSync(fd)
    }
  }

  /** Opens the last component itself, with O_PATH also a symbolic link. The caller closes it. */
  open(path: string, flags: number): number {
    return openBeneath(this.#rootFd, toNative(path), flags)
  }

  /** The caller closes `fd`. */
  pin(path: string): Pin {
    const fd = this.open(path, O_PATH)
    try {
      const pin = pinOf(fd)
      this.check(pin.stats)
      return pin
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** The attributes of a name itself, or undefined where there is none. */
  look(directory: OpenDirectory, name: string): BigIntStats | undefined {
    const path = below(directory.at, name)
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
    if (stats !== undefined) {
      this.check(stats)
    }
    return stats
  }

  /** The same by its path. */
  find(path: string): BigIntStats | undefined {
    return path === ''
      ? fstatSync(this.#rootFd, { bigint: true })
      : this.inDirectory(parentOf(path), (directory) => this.look(directory, nameOf(path)))
  }

  /** Another file system beneath the tree would have inode numbers of its own. */
  check(stats: BigIntStats): void {
    if (stats.dev !== this.#device) {
      throw new ModelcacheError('another file system beneath the tree is refused', {
        code: 'EXDEV',
        errno: 'EXDEV',
      })
    }
  }

  close(): void {
    closeSync(this.#rootFd)
  }
}
