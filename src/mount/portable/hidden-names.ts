import { accessSync, closeSync, constants } from 'node:fs'
import type { Clock, Logger, Timer } from '../../base/index.ts'
import { messageOf, nextTurn } from '../../base/index.ts'
import { isBelow, nameOf, parentOf } from './native-path.ts'
import { type OpenDirectory, type Pin, type Places, procPath } from './places.ts'
import type { Request } from './request.ts'

/** fuse.c, hidden_name: the node's number and a counter. */
const HIDDEN_NAME = /^\.fuse_hidden[0-9a-f]{16}$/
/**
 * After this a removal is what it was, if its thread says nothing more. libfuse takes microseconds
 * from its first rename to the second; a rename that is later still is no less atomic for programs,
 * since the kernel lets nobody look into the directory until it is done.
 */
const REMOVAL_MS = 10

interface HiddenName {
  /** As libfuse calls it now; renames of directories change it. */
  path: string
  readonly pin: Pin
  /** The name that is still in the tree, until it is known whether it is removed or replaced. */
  pending: PendingRemoval | undefined
}

interface PendingRemoval {
  path: string
  readonly thread: Buffer
  readonly timer: Timer
  readonly decided: PromiseWithResolvers<void>
}

/** Operations for which the kernel locks directories against changes of the names in them. */
const LOCKED: { readonly [name in Request['name']]?: (request: Request) => string[] } = {
  create: ({ path }) => [parentOf(path)],
  mknod: ({ path }) => [parentOf(path)],
  mkdir: ({ path }) => [parentOf(path)],
  unlink: ({ path }) => [parentOf(path)],
  rmdir: ({ path }) => [parentOf(path)],
  symlink: ({ dest }) => [parentOf(dest)],
  link: ({ dest }) => [parentOf(dest)],
  rename: ({ path, dest }) => [parentOf(path), parentOf(dest)],
  readdir: ({ path }) => [path],
  fsyncdir: ({ path }) => [path],
}
/** Operations for which libfuse waits until nothing goes on below these directories. */
const EMPTIED: { readonly [name in Request['name']]?: (request: Request) => string[] } = {
  rmdir: ({ path }) => [path],
  rename: ({ path, dest }) => [path, dest],
}

/**
 * libfuse 2 knows files by paths, so it renames an open file to `.fuse_hidden…` where a program
 * removes it or renames over it. Those names never come into being here: the file keeps a
 * descriptor, by which every operation on the hidden path reaches it, and loses the name that the
 * program took from it. (Its option `hard_remove` is no way out: then nothing reaches the file.)
 *
 * The same two steps begin a removal and a replacement, and only the replacement goes on: with
 * rename(2) by the same thread. Until then the name stays in the tree, so that a replacement is one
 * step on disk, too. It is a removal as soon as the thread does something else, or somebody shows
 * that the kernel has let the directory go, or time passes.
 */
export class HiddenNames {
  readonly #places: Places
  readonly #clock: Pick<Clock, 'setTimeout'>
  readonly #logger: Logger
  readonly #remove: (path: string) => void
  readonly #hidden = new Map<string, HiddenName>()
  /** By the name in the tree. */
  readonly #pending = new Map<string, HiddenName>()
  /** The path that a thread was told is free, by its last request. */
  readonly #free = new Map<Buffer, string>()

  /** @param remove takes a file's name out of the tree, and tells of it */
  constructor(
    places: Places,
    clock: Pick<Clock, 'setTimeout'>,
    logger: Logger,
    remove: (path: string) => void,
  ) {
    this.#places = places
    this.#clock = clock
    this.#logger = logger
    this.#remove = remove
  }

  /** The descriptor of a hidden path. */
  get(path: string): Pin | undefined {
    return this.#hidden.size === 0 ? undefined : this.#hidden.get(path)?.pin
  }

  /** Whether a name of the inode is about to go: it is no link of the file any more. */
  pendingLinks(key: string): number {
    let count = 0
    for (const { pin } of this.#pending.values()) {
      count += pin.key === key ? 1 : 0
    }
    return count
  }

  /** Whether anything hidden would lose its path if this directory went from libfuse's table. */
  hasBelow(directory: string): boolean {
    return [...this.#hidden.keys()].some((path) => isBelow(path, directory))
  }

  /** A getattr found nothing: libfuse looks before it hides. */
  notFound(request: Request, path: string): void {
    if (HIDDEN_NAME.test(nameOf(path))) {
      this.#free.set(request.thread, path)
    }
  }

  /** Whether this rename is libfuse's own. Other programs' names of that form are names. */
  isHiding(request: Request, isOpen: boolean): boolean {
    const { path, dest, thread } = request
    return (
      isOpen &&
      this.#free.get(thread) === dest &&
      parentOf(path) === parentOf(dest) &&
      HIDDEN_NAME.test(nameOf(dest))
    )
  }

  /**
   * Answers libfuse's rename. The name itself goes later, so what would forbid that is asked now.
   *
   * @param pin of the file; kept here
   */
  hide(request: Request, directory: OpenDirectory, pin: Pin): void {
    const { path, dest, thread } = request
    accessSync(directory.at, constants.W_OK | constants.X_OK)
    const timer = this.#clock.setTimeout(() => void this.#timeIsUp(hidden), REMOVAL_MS)
    const decided = Promise.withResolvers<void>()
    const hidden: HiddenName = { path: dest, pin, pending: { path, thread, timer, decided } }
    this.#hidden.set(dest, hidden)
    this.#pending.set(path, hidden)
  }

  /**
   * Decides, before an operation, about names that it shows to be removed.
   *
   * @returns what the operation has to wait for
   */
  before(request: Request): Promise<void> | undefined {
    if (request.name !== 'rename' && this.#free.size > 0) {
      this.#free.delete(request.thread)
    }
    if (this.#pending.size === 0) {
      return undefined
    }
    const locked = LOCKED[request.name]?.(request) ?? []
    const emptied = EMPTIED[request.name]?.(request) ?? []
    for (const hidden of [...this.#pending.values()]) {
      const { path, thread } = hidden.pending ?? {}
      if (path === undefined) {
        continue
      }
      const isOwn = thread === request.thread
      const isReplacement = isOwn && request.name === 'rename' && request.dest === path
      const isShown =
        locked.includes(parentOf(path)) || emptied.some((directory) => isBelow(path, directory))
      if (!isReplacement && (isOwn || isShown)) {
        this.#removed(hidden)
      }
    }
    const isLookup = request.name === 'getattr' || request.name === 'fgetattr'
    return isLookup ? this.#pending.get(request.path)?.pending?.decided.promise : undefined
  }

  /** The name that a rename replaces is no removal; called whether the rename worked or not. */
  replaced(path: string): void {
    const hidden = this.#pending.get(path)
    if (hidden !== undefined) {
      this.#decide(hidden)
    }
  }

  /** A file that is to be replaced by a directory has to go first. */
  removeFirst(path: string): void {
    const hidden = this.#pending.get(path)
    if (hidden !== undefined) {
      this.#removed(hidden)
    }
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

  /** The last use of a hidden path is over. True if it was one. */
  drop(path: string): boolean {
    const hidden = this.#hidden.get(path)
    if (hidden === undefined) {
      return false
    }
    this.#close(hidden)
    return true
  }

  /** Nobody has the inode open any more, so that libfuse knows no hidden name of it. */
  dropInode(key: string): void {
    for (const hidden of [...this.#hidden.values()]) {
      if (hidden.pin.key === key) {
        this.#close(hidden)
      }
    }
  }

  /** Resolves when no name in the tree waits for a decision. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) {
      const waiting = [...this.#pending.values()].map((hidden) => hidden.pending?.decided.promise)
      await Promise.all(waiting)
    }
  }

  close(): void {
    for (const hidden of [...this.#hidden.values()]) {
      this.#close(hidden)
    }
  }

  async #timeIsUp(hidden: HiddenName): Promise<void> {
    // What libfuse's thread asked while this thread was busy comes first.
    await nextTurn()
    if (hidden.pending !== undefined) {
      this.#removed(hidden)
    }
  }

  #close(hidden: HiddenName): void {
    if (hidden.pending !== undefined) {
      this.#removed(hidden)
    }
    this.#hidden.delete(hidden.path)
    closeSync(hidden.pin.fd)
  }

  #removed(hidden: HiddenName): void {
    const path = hidden.pending?.path
    this.#decide(hidden)
    try {
      // Behind us the name may have become another file's, which is nobody's to remove.
      if (path !== undefined && this.#places.find(path)?.ino === hidden.pin.stats.ino) {
        this.#remove(path)
      }
    } catch (error) {
      this.#logger.error('a removed file stays under its name', {
        path,
        reason: messageOf(error),
        at: procPath(hidden.pin.fd),
      })
    }
  }

  #decide(hidden: HiddenName): void {
    const { pending } = hidden
    if (pending !== undefined) {
      hidden.pending = undefined
      this.#pending.delete(pending.path)
      pending.timer.cancel()
      pending.decided.resolve()
    }
  }
}
