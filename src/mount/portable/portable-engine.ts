import { accessSync, constants, existsSync, realpathSync } from 'node:fs'
import {
  type Clock,
  type Logger,
  ModelcacheError,
  messageOf,
  raiseDescriptorLimit,
} from '../../base/index.ts'
import { type InodeId, inodeKey, type Stamp } from '../../tree/index.ts'
import type { Engine, EngineHandlers, EngineStats, Lease, Snapshot } from '../engine.ts'
import type { LocalTree } from '../local/local-tree.ts'
import type { WireName } from '../wire.ts'
import { keepFuseFromChildren } from './descriptors.ts'
import { mountOptions } from './mount-options.ts'
import { findMount, type MountIdentity, MountWatch, unmount } from './mounted.ts'
import { allOperations, createParts } from './operations.ts'
import type { Parts } from './parts.ts'
import { openSession } from './session.ts'

export interface PortableEngineOptions {
  tree: LocalTree
  mountpoint: string
  readOnly: boolean
  /** What stands as source in the mount table. */
  fsName: string
  fetchDeadlineMs: number
  logger: Logger
  clock: Clock
}

const FUSE_DEVICE = '/dev/fuse'
/** What `status` shows of them at most. */
const MAX_DIRTY = 100_000

/**
 * Mounts the tree through fuse-native, in this process and its main thread. Resolves when the kernel
 * answers. Until `ready` whatever is remote waits.
 *
 * @throws ModelcacheError `no-fuse` or `permission` (exit code 5), `mount-failed`
 */
export async function createPortableEngine(options: PortableEngineOptions): Promise<Engine> {
  const { tree, readOnly, fsName, logger, clock } = options
  checkDevice()
  const mountpoint = realpathSync(options.mountpoint)
  const flags = mountOptions(mountpoint, fsName, readOnly)
  const limit = raiseDescriptorLimit()
  logger.debug('descriptors', { ...limit })
  const parts = createParts({ ...options, tree })
  const before = await findMount(mountpoint, fsName)
  try {
    const operations = allOperations(parts, tree.paths.tree)
    await openSession({ mountpoint, options: flags, operations, logger })
    keepFuseFromChildren()
    const mount = await findMount(mountpoint, fsName)
    if (mount === undefined || mount.device === before?.device) {
      throw new ModelcacheError(`mount ${mountpoint}: it is not in the mount table`, {
        code: 'mount-failed',
        exitCode: 1,
      })
    }
    return new PortableEngine(tree, parts, mount, logger, clock)
  } catch (error) {
    await tryTakeAway({ mountpoint, fsName, before }, logger)
    parts.places.close()
    throw error
  }
}

/** A mount that answers nothing must not stay; why it is one is told in any case. */
async function tryTakeAway(
  {
    mountpoint,
    fsName,
    before,
  }: { mountpoint: string; fsName: string; before: MountIdentity | undefined },
  logger: Logger,
): Promise<void> {
  try {
    const mount = await findMount(mountpoint, fsName)
    if (mount !== undefined && mount.device !== before?.device) {
      await unmount(mount, true)
    }
  } catch (error) {
    logger.error('a mount that failed cannot be taken away', { reason: messageOf(error) })
  }
}

function checkDevice(): void {
  if (!existsSync(FUSE_DEVICE)) {
    throw new ModelcacheError(`${FUSE_DEVICE} is not there`, { code: 'no-fuse', exitCode: 5 })
  }
  try {
    accessSync(FUSE_DEVICE, constants.R_OK | constants.W_OK)
  } catch (cause) {
    throw new ModelcacheError(`${FUSE_DEVICE} may not be opened by this user`, {
      code: 'permission',
      exitCode: 5,
      cause,
    })
  }
}

class PortableEngine implements Engine {
  readonly ended: Promise<Error | undefined>
  readonly #tree: LocalTree
  readonly #parts: Parts
  readonly #mount: MountIdentity
  readonly #end = Promise.withResolvers<Error | undefined>()
  readonly #watch: MountWatch
  #handlers: EngineHandlers | undefined
  /** Programs that were in the mount may go on in it until this process ends. */
  #wasLeftBusy = false

  constructor(tree: LocalTree, parts: Parts, mount: MountIdentity, logger: Logger, clock: Clock) {
    this.#tree = tree
    this.#parts = parts
    this.#mount = mount
    this.ended = this.#end.promise
    this.#watch = new MountWatch(mount, clock, logger, () => {
      this.#handlers?.drain('unmounted', true)
    })
  }

  on(handlers: EngineHandlers): void {
    this.#handlers = handlers
    this.#tree.listen(handlers)
  }

  ready(): void {
    if (this.#handlers !== undefined) {
      this.#parts.questions.open(this.#handlers)
    }
  }

  async failed(): Promise<void> {
    await this.unmount(true)
    await this.#close(this.#tree.untouched)
  }

  lease(path: WireName, id: InodeId): Promise<Lease> {
    return this.#tree.lease(path, id)
  }

  settled(lease: number, oid: bigint | null): Promise<Stamp> {
    return this.#tree.settled(lease, oid)
  }

  unlease(lease: number): void {
    this.#tree.unlease(lease)
  }

  unlinkObjects(oids: readonly bigint[]): Promise<void> {
    return this.#tree.unlinkObjects(oids)
  }

  /** One moment of the tree: this thread runs nothing else while it walks. */
  snapshot(all: boolean): Promise<Snapshot> {
    return this.#tree.snapshot(all, false)
  }

  committed(snapshot: number, again: readonly InodeId[]): void {
    this.#tree.committed(snapshot, again)
  }

  /** The kernel keeps no attributes, and asks at each open whether its pages are still good. */
  notifyInode(): void {}

  notifyComplete(id: InodeId): void {
    this.#parts.hydration.becameComplete(inodeKey(id))
  }

  /** See mount-options.ts: nobody can tell the kernel; it asks again within a second. */
  notifyEntry(): void {}

  async stats(): Promise<EngineStats> {
    const { counters, files } = this.#parts
    const { open, writing } = files.counts
    return {
      ...counters,
      passthroughOpens: 0,
      openFiles: open,
      openForWriting: writing,
      dirty: this.#tree.dirty().slice(0, MAX_DIRTY),
    }
  }

  async unmount(lazy: boolean): Promise<void> {
    this.#watch.stop()
    try {
      await unmount(this.#mount, lazy)
    } catch (error) {
      this.#watch.resume()
      throw error
    }
    this.#wasLeftBusy ||= lazy
  }

  async done(dirty: number): Promise<void> {
    await this.#close(dirty === 0 && !this.#wasLeftBusy)
  }

  async #close(clean: boolean): Promise<void> {
    this.#watch.stop()
    this.#parts.hidden.close()
    this.#parts.files.close()
    await this.#tree.close(clean)
    this.#end.resolve(undefined)
  }
}
