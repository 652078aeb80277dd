import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { type Clock, isErrno, type Logger, ModelcacheError, openBeneath } from '../../base/index.ts'
import {
  type InodeId,
  inodeIdOf,
  type Stamp,
  type StorePaths,
  sameInode,
  sameStamp,
  stampOf,
} from '../../tree/index.ts'
import type { Change, Lease, Snapshot } from '../engine.ts'
import { printableName, type WireName } from '../wire.ts'
import { ChangedDirectories } from './changed-directories.ts'
import { DirtyLog } from './dirty-log.ts'
import { type HeldLease, LeaseTable } from './lease-table.ts'
import type { ChangeSink, LocalTree } from './local-tree.ts'
import { ObjectLinks } from './object-links.ts'
import { SnapshotTaker } from './snapshot-taker.ts'
import { lockStore, type StoreLock } from './store-lock.ts'

export interface LocalTreeOptions {
  logger: Logger
  clock: Pick<Clock, 'now' | 'monotonicMs' | 'setTimeout'>
}

/** The name leads to another file or to none. */
const STALE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO']
/** Neither the owner nor CAP_LEASE, or a file system without leases. */
const NO_LEASES = ['EACCES', 'EPERM', 'EINVAL']

/**
 * Takes a store for this process. The store is locked and marked unclean, durably, when it
 * returns; `close` undoes both.
 *
 * @throws ModelcacheError `store-locked` where another mount has it, else the system's error
 */
export async function openLocalTree(
  paths: StorePaths,
  options: LocalTreeOptions,
): Promise<LocalTree> {
  const lock = lockStore(paths)
  let rootFd: number | undefined
  try {
    rootFd = openSync(paths.tree, constants.O_RDONLY | constants.O_DIRECTORY)
    const objects = await ObjectLinks.open(paths.objects)
    const log = new DirtyLog(paths, options.logger)
    return new Tree(paths, options, { lock, objects, log, rootFd })
  } catch (error) {
    if (rootFd !== undefined) {
      closeSync(rootFd)
    }
    lock.release()
    throw error
  }
}

interface Held {
  lock: StoreLock
  objects: ObjectLinks
  log: DirtyLog
  rootFd: number
}

class Tree implements LocalTree {
  readonly paths: StorePaths
  readonly #logger: Logger
  readonly #held: Held
  /** Birth times by inode number: made in this session, or named by the log, and not settled. */
  readonly #dirty: Map<bigint, bigint>
  readonly #changes: ChangedDirectories
  readonly #leases: LeaseTable
  readonly #snapshots: SnapshotTaker
  readonly #early: ((sink: ChangeSink) => void)[] = []
  #sink: ChangeSink | undefined
  #sequence = 0
  #closing: Promise<void> | undefined

  constructor(paths: StorePaths, { logger, clock }: LocalTreeOptions, held: Held) {
    this.paths = paths
    this.#logger = logger
    this.#held = held
    const noted = held.log.noted()
    this.#dirty = new Map(noted.map(({ ino, btimeNs }) => [ino, btimeNs]))
    this.#changes = new ChangedDirectories(!held.lock.clean || noted.length > 0)
    this.#leases = new LeaseTable((lease) => this.#leaseBroken(lease))
    this.#snapshots = new SnapshotTaker({
      rootFd: held.rootFd,
      objects: held.objects,
      changes: this.#changes,
      noted,
      vanished: (id) => this.#makeClean(id),
      gone: (id) => this.#tell({ kind: 'gone', id }),
      logger,
      clock,
    })
  }

  get clean(): boolean {
    return this.#held.lock.clean
  }

  get untouched(): boolean {
    return this.clean && !this.#changes.any && this.#dirty.size === 0
  }

  listen(sink: ChangeSink): void {
    this.#sink = sink
    for (const tell of this.#early.splice(0)) {
      tell(sink)
    }
  }

  created({ ino, btimeNs }: InodeId): void {
    this.#requireOpen()
    this.#dirty.set(ino, btimeNs)
  }

  willWrite(id: InodeId, path: string | undefined, links: number): void {
    this.#requireOpen()
    this.#leases.giveUp(id.ino)
    if (links === 0) {
      return
    }
    this.changedFile(path, links)
    if (!this.#isDirty(id)) {
      this.#held.log.note(id)
      this.#dirty.set(id.ino, id.btimeNs)
      this.#tell({ kind: 'dirty', id })
    }
  }

  stampMoved(id: InodeId, old: Stamp, next: Stamp): void {
    if (!sameStamp(old, next) && !this.#isDirty(id)) {
      this.#tell({ kind: 'stamp', id, old, next })
    }
  }

  final(id: InodeId, path: string, by: 'name' | 'writer'): void {
    this.#tell({ kind: 'final', id, path, by })
  }

  changedFile(path: string | undefined, links: number): void {
    if (path === undefined || links > 1) {
      this.#changes.markAll()
    }
    if (path !== undefined) {
      this.#changes.mark(directoryOf(path), false)
    }
  }

  gone(id: InodeId): void {
    this.#makeClean(id)
    this.#held.objects.gone(id.ino)
    this.#tell({ kind: 'gone', id })
  }

  changedDirectory(path: string, explicit = false): void {
    this.#changes.mark(path, explicit)
  }

  movedDirectory(from: string, to: string): void {
    this.#changes.moved(from, to)
  }

  removedDirectory(path: string): void {
    this.#changes.removed(path)
  }

  ourLinks({ ino }: InodeId): number {
    return this.#held.objects.of(ino)
  }

  shownCtimeNs({ ino }: InodeId, ctimeNs: bigint): bigint {
    return this.#held.objects.shownCtimeNs(ino, ctimeNs)
  }

  dirty(): InodeId[] {
    return [...this.#dirty].map(([ino, btimeNs]) => ({ ino, btimeNs }))
  }

  async lease(path: WireName, id: InodeId): Promise<Lease> {
    this.#requireOpen()
    const fd = this.#openLeased(path, id)
    try {
      const name = typeof path === 'string' ? path : undefined
      const { lease, stamp } = this.#leases.take(id, fd, name)
      const { number } = lease
      return { number, path: `/proc/self/fd/${fd}`, stamp, sequence: this.#next() }
    } catch (error) {
      if (isErrno(error, ...NO_LEASES)) {
        this.#logger.warn('a file cannot be leased', { path: printableName(path), error })
        throw refusal('EAGAIN', 'the file cannot be leased', error)
      }
      throw error
    }
  }

  async settled(number: number, oid: bigint | null): Promise<Stamp> {
    this.#requireOpen()
    try {
      return this.#settle(number, oid)
    } finally {
      this.#leases.drop(number)
      this.#next()
    }
  }

  unlease(lease: number): void {
    this.#leases.drop(lease)
  }

  async unlinkObjects(oids: readonly bigint[]): Promise<void> {
    this.#requireOpen()
    await this.#held.objects.unlink(oids)
  }

  async snapshot(all: boolean, yielding: boolean): Promise<Snapshot> {
    this.#requireOpen()
    const { number, directories } = yielding
      ? await this.#snapshots.inTurns()
      : this.#snapshots.atOnce(all)
    return { number, directories, sequence: this.#next() }
  }

  committed(snapshot: number, again: readonly InodeId[]): void {
    this.#changes.committed(snapshot, again)
  }

  close(clean: boolean): Promise<void> {
    this.#closing ??= this.#close(clean)
    return this.#closing
  }

  async #close(clean: boolean): Promise<void> {
    const { lock, log, rootFd } = this.#held
    this.#leases.close()
    await this.#snapshots.close()
    try {
      if (clean) {
        log.clear()
        lock.markClean()
      }
    } finally {
      closeSync(rootFd)
      log.close()
      lock.release()
    }
  }

  #openLeased(path: WireName, id: InodeId): number {
    let fd: number
    try {
      const flags = constants.O_RDONLY | constants.O_NONBLOCK
      fd = openBeneath(this.#held.rootFd, path, flags)
    } catch (error) {
      throw isErrno(error, ...STALE) ? refusal('ESTALE', 'another file or none', error) : error
    }
    const stats = fstatSync(fd, { bigint: true })
    if (!stats.isFile() || !sameInode(inodeIdOf(stats), id)) {
      closeSync(fd)
      throw refusal('ESTALE', 'the name has another file')
    }
    return fd
  }

  #settle(number: number, oid: bigint | null): Stamp {
    const lease = this.#leases.intact(number)
    if (lease === undefined) {
      throw refusal('ECANCELED', 'the lease was broken')
    }
    const { fd, id, path } = lease
    const { nlink } = fstatSync(fd, { bigint: true })
    if (Number(nlink) <= this.ourLinks(id)) {
      // Unlinked meanwhile: an object of it would keep its bytes for nobody.
      throw refusal('ECANCELED', 'the file has no name any more')
    }
    if (oid !== null) {
      this.#held.objects.link(fd, id.ino, oid)
    }
    if (path !== undefined) {
      // Its entry in the next root is another one now.
      this.#changes.mark(directoryOf(path), false)
    }
    this.#makeClean(id)
    return stampOf(fstatSync(fd, { bigint: true }))
  }

  #leaseBroken({ number, path }: HeldLease): void {
    if (path !== undefined) {
      // Perhaps by somebody past the mount, of whom nothing else is heard.
      this.#changes.mark(directoryOf(path), false)
    }
    this.#next()
    this.#deliver((sink) => sink.broken(number))
  }

  #isDirty({ ino, btimeNs }: InodeId): boolean {
    return this.#dirty.get(ino) === btimeNs
  }

  #makeClean(id: InodeId): void {
    if (this.#isDirty(id)) {
      this.#dirty.delete(id.ino)
    }
    this.#held.log.forget(id)
  }

  #tell(change: Change): void {
    const sequence = this.#next()
    this.#deliver((sink) => sink.changed([change], sequence))
  }

  #deliver(tell: (sink: ChangeSink) => void): void {
    if (this.#sink === undefined) {
      this.#early.push(tell)
    } else {
      tell(this.#sink)
    }
  }

  #next(): number {
    this.#sequence += 1
    return this.#sequence
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) {
      throw new ModelcacheError('the store is closed', { code: 'engine-gone', errno: 'EIO' })
    }
  }
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function refusal(errno: string, why: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`lease: ${why}`, { code: errno, errno, cause })
}
