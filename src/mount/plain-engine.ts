import type { Clock, Logger, Timer } from '../base/index.ts'
import { isErrno, messageOf } from '../base/index.ts'
import type { DirectoryAttributes } from '../config/index.ts'
import {
  forgetUnseen,
  hasUnseenWriters,
  type InodeId,
  markUnseen,
  type Stamp,
} from '../tree/index.ts'
import type { Engine, EngineHandlers, EngineStats, Lease, Snapshot } from './engine.ts'
import type { LocalTree } from './local/local-tree.ts'
import { leadsTo, placePlainLink, removePlainLink } from './plain-link.ts'
import type { WireName } from './wire.ts'

export interface PlainEngineOptions {
  tree: LocalTree
  /** Absolute: an empty directory, or nothing yet. */
  mountpoint: string
  /** What is put in the place of the link again. */
  before?: DirectoryAttributes | undefined
  logger: Logger
  clock: Pick<Clock, 'setTimeout'>
}

/** How soon it is noticed that somebody took the link away, which ends the mount. */
const LOOK_EVERY_MS = 1000

/**
 * No engine: the mountpoint is a link to the cache tree, and programs use the disk's own file
 * system. Nobody hears what they do, so every commit compares every stamp
 * (docs/decisions/without-an-engine.md). Nothing in the tree may be a placeholder.
 */
export function createPlainEngine(options: PlainEngineOptions): Engine {
  return new PlainEngine(options)
}

class PlainEngine implements Engine {
  readonly #options: PlainEngineOptions
  readonly #ended = Promise.withResolvers<Error | undefined>()
  #handlers: EngineHandlers | undefined
  #isLinked = false
  #look: Timer | undefined

  constructor(options: PlainEngineOptions) {
    this.#options = options
  }

  get ended(): Promise<Error | undefined> {
    return this.#ended.promise
  }

  on(handlers: EngineHandlers): void {
    this.#handlers = handlers
    this.#options.tree.listen(handlers)
  }

  ready(): void {
    const { mountpoint, tree } = this.#options
    const hadUnseen = hasUnseenWriters(tree.paths)
    markUnseen(tree.paths)
    try {
      placePlainLink(mountpoint, tree.paths.tree)
      this.#isLinked = true
    } catch (error) {
      if (!hadUnseen) {
        forgetUnseen(tree.paths)
      }
      throw error
    }
    this.#lookLater()
  }

  async failed(_exitCode: number, message: string): Promise<void> {
    const { logger, tree } = this.#options
    try {
      await this.unmount(true)
    } finally {
      logger.debug('the store is let go', { message })
      await this.#close(tree.untouched)
    }
  }

  lease(path: WireName, id: InodeId): Promise<Lease> {
    return this.#options.tree.lease(path, id)
  }

  settled(lease: number, oid: bigint | null): Promise<Stamp> {
    return this.#options.tree.settled(lease, oid)
  }

  unlease(lease: number): void {
    this.#options.tree.unlease(lease)
  }

  unlinkObjects(oids: readonly bigint[]): Promise<void> {
    return this.#options.tree.unlinkObjects(oids)
  }

  snapshot(): Promise<Snapshot> {
    return this.#options.tree.snapshot(true, true)
  }

  committed(snapshot: number, again: readonly InodeId[]): void {
    this.#options.tree.committed(snapshot, again)
  }

  /** Programs see the tree itself: nobody has cached anything of it. */
  notifyInode(): void {}
  notifyComplete(): void {}
  notifyEntry(): void {}

  /** What programs read and write is not seen here. */
  async stats(): Promise<EngineStats> {
    return {
      reads: 0,
      readBytes: 0,
      writes: 0,
      passthroughOpens: 0,
      openFiles: 0,
      openForWriting: 0,
      dirty: this.#options.tree.dirty(),
    }
  }

  /** Never busy: what programs have open stays open, in the store. */
  async unmount(_lazy: boolean): Promise<void> {
    const { before, logger, mountpoint, tree } = this.#options
    this.#look?.cancel()
    if (!this.#isLinked) {
      return
    }
    this.#isLinked = false
    try {
      if (!removePlainLink(mountpoint, tree.paths.tree, before)) {
        logger.warn('the link at the mountpoint was gone already', { mountpoint })
      }
    } catch (error) {
      this.#isLinked = true
      this.#lookLater()
      throw error
    }
  }

  /** Programs may have files open past the unmount, so the next mount compares every stamp. */
  done(_dirty: number): Promise<void> {
    return this.#close(false)
  }

  async #close(clean: boolean): Promise<void> {
    this.#look?.cancel()
    await this.#options.tree.close(clean)
    this.#ended.resolve(undefined)
  }

  #lookLater(): void {
    this.#look = this.#options.clock.setTimeout(() => this.#lookAtLink(), LOOK_EVERY_MS)
  }

  #lookAtLink(): void {
    const { mountpoint, tree } = this.#options
    if (this.#isThere(mountpoint, tree.paths.tree)) {
      this.#lookLater()
    } else {
      this.#isLinked = false
      this.#handlers?.drain('the link was taken away', true)
    }
  }

  /** What cannot be looked at now may be there: only a clear no ends the mount. */
  #isThere(mountpoint: string, target: string): boolean {
    try {
      return leadsTo(mountpoint, target)
    } catch (error) {
      const { logger } = this.#options
      const level = isErrno(error, 'EACCES') ? 'debug' : 'warn'
      logger[level]('the mountpoint cannot be looked at', { mountpoint, reason: messageOf(error) })
      return true
    }
  }
}
