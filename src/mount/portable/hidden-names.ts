import { closeSync } from 'node:fs'
import { type Clock, ModelcacheError, type Timer } from '../../base/index.ts'
import { type Hiding, hidingOf, isHiddenName } from './libfuse.ts'
import { isBelow, nameOf } from './native-path.ts'
import type { Pin } from './places.ts'
import type { Request } from './request.ts'

/**
 * For so long a file without a name can still be opened by a program that looked the name up before
 * it went; later ones are told ESTALE, and look again. What it takes on disk is free afterwards.
 */
const KEPT_MS = 100
/** Files that are kept and not open; each takes a descriptor. */
const MAX_KEPT = 128

interface HiddenName {
  /** As libfuse calls it now; renames of directories change it. */
  path: string
  readonly pin: Pin
  readonly timer: Timer
  /** Only open files are kept now. */
  isOver: boolean
  /** libfuse takes one link from what we tell of the file, which is this name. */
  isCounted: boolean
}

/**
 * libfuse 2 knows files by paths, so it renames a file whose name is about to go to a hidden one.
 * Those names never come into being here: the file keeps a descriptor, by which every operation on
 * the hidden path reaches it, and what the program asked for is done to its name at once. (libfuse's
 * option `hard_remove` is no way out: then nothing reaches an open file any more.)
 */
export class HiddenNames {
  readonly #clock: Pick<Clock, 'setTimeout'>
  readonly #isOpen: (key: string) => boolean
  readonly #hidden = new Map<string, HiddenName>()
  readonly #byInode = new Map<string, Set<HiddenName>>()
  /** Until there are more than this nobody looks for those that are too many. */
  #enough = MAX_KEPT
  /** What a thread is about to do with the path of its last request. */
  readonly #announced = new Map<Buffer, { path: string; hiding: Hiding }>()

  /** @param isOpen whether a program has the inode open */
  constructor(clock: Pick<Clock, 'setTimeout'>, isOpen: (key: string) => boolean) {
    this.#clock = clock
    this.#isOpen = isOpen
  }

  /** The descriptor of a hidden path. */
  get(path: string): Pin | undefined {
    return this.#hidden.get(path)?.pin
  }

  /** Whether a path is one of libfuse's, kept or not. */
  isHidden(path: string): boolean {
    return isHiddenName(nameOf(path))
  }

  /**
   * A getattr of a path that leads nowhere: libfuse looks whether a hidden name is free before it
   * takes it. True if it does, or if the path is none of its names.
   */
  isFree(request: Request, path: string): boolean {
    if (!this.isHidden(path)) {
      return true
    }
    const hiding = hidingOf(request.statAddress)
    if (hiding !== undefined) {
      this.#announced.set(request.thread, { path, hiding })
    }
    return hiding !== undefined
  }

  /** Why libfuse renames a file to a hidden name. */
  hidingBy({ thread, dest }: Request): Hiding {
    const announced = this.#announced.get(thread)
    this.#announced.delete(thread)
    if (announced?.path !== dest) {
      throw new ModelcacheError('libfuse hides a file for no known reason', {
        code: 'hidden-unannounced',
        errno: 'EIO',
      })
    }
    return announced.hiding
  }

  /** From now on the hidden path leads to the file. Takes the descriptor. */
  add(path: string, pin: Pin): void {
    const timer = this.#clock.setTimeout(() => {
      hidden.isOver = true
      this.#dropUnused(hidden)
    }, KEPT_MS)
    const hidden: HiddenName = { path, pin, timer, isOver: false, isCounted: true }
    this.#hidden.set(path, hidden)
    const others = this.#byInode.get(pin.key) ?? new Set()
    this.#byInode.set(pin.key, others.add(hidden))
    this.#dropOldest()
  }

  /**
   * How many links libfuse takes from those that we tell of a path, where there are any: until its
   * last close it takes the hidden name for one of them (fuse.c, fuse_lib_getattr).
   */
  uncounted(path: string): number {
    return this.#hidden.get(path)?.isCounted === true ? 1 : 0
  }

  /** libfuse removes a hidden name: from now on it takes no link. */
  removed(path: string): void {
    const hidden = this.#hidden.get(path)
    if (hidden !== undefined) {
      hidden.isCounted = false
    }
  }

  /** Whether an open file would lose its path if libfuse forgot this directory. */
  hasOpenBelow(directory: string): boolean {
    return [...this.#hidden.values()].some(
      ({ path, pin }) => isBelow(path, directory) && this.#isOpen(pin.key),
    )
  }

  /** libfuse follows renames of directories. */
  movedDirectory(from: string, to: string): void {
    for (const hidden of [...this.#hidden.values()]) {
      if (isBelow(hidden.path, from)) {
        this.#hidden.delete(hidden.path)
        hidden.path = to + hidden.path.slice(from.length)
        this.#hidden.set(hidden.path, hidden)
      }
    }
  }

  /** Nobody has the inode open any more. */
  closed(key: string): void {
    for (const hidden of [...(this.#byInode.get(key) ?? [])]) {
      this.#dropUnused(hidden)
    }
  }

  close(): void {
    for (const hidden of [...this.#hidden.values()]) {
      this.#drop(hidden)
    }
  }

  #dropOldest(): void {
    if (this.#hidden.size <= this.#enough) {
      return
    }
    const kept = [...this.#hidden.values()].filter(({ pin }) => !this.#isOpen(pin.key))
    for (const hidden of kept.slice(0, Math.max(0, kept.length - MAX_KEPT))) {
      this.#drop(hidden)
    }
    // Open files are many at times: looking at all of them for each removal would take for ever.
    this.#enough = this.#hidden.size + MAX_KEPT
  }

  #dropUnused(hidden: HiddenName): void {
    if (hidden.isOver && !this.#isOpen(hidden.pin.key)) {
      this.#drop(hidden)
    }
  }

  #drop(hidden: HiddenName): void {
    if (this.#hidden.delete(hidden.path)) {
      const others = this.#byInode.get(hidden.pin.key)
      others?.delete(hidden)
      if (others?.size === 0) {
        this.#byInode.delete(hidden.pin.key)
      }
      hidden.timer.cancel()
      closeSync(hidden.pin.fd)
    }
  }
}
