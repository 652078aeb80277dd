import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  isErrno,
  KeyedLock,
  type LimitedRun,
  limitConcurrency,
  ModelcacheError,
  reached,
} from '../base/index.ts'
import type { Lease } from '../mount/index.ts'
import { type FileRow, type InodeId, inodeKey, type Stamp, sameStamp } from '../tree/index.ts'
import { hashLeased, type KnownContent, type LeasedContent } from './leased-content.ts'
import type { SettleOutcome, SettleRequest } from './outcome.ts'
import type { SettlerParts } from './settler-parts.ts'
import { StampWatch } from './stamp-watch.ts'
import { SuspendedRows } from './suspended-rows.ts'
import { WithheldFiles } from './withheld-files.ts'

/** Small files wait for the disk and not for the processor: several at a time. */
const SMALL_FILES_AT_ONCE = 8
/** Large ones keep one core busy each. */
const LARGE_FILES_AT_ONCE = 2
const LARGE_FILE_BYTES = 64 * 1024 * 1024
/** Leases whose break was told before their grant was looked at; a handful at most. */
const MAX_EARLY_BREAKS = 256

/** What is known of a placeholder's content when its last byte is there. */
export interface CompletedContent {
  cid: FileRow['cid']
  tsizeBytes: number
  leaves: LeasedContent['leaves']
  /** Taken after the data was fsynced and the record was removed. */
  stamp: Stamp
}

/**
 * Makes files clean: lease, fsync, stamp, hash, stamp, object, row. One file at a time per
 * inode; the lock of an inode is the only one that is held, and never across the network.
 */
export class Settler {
  readonly watch = new StampWatch()
  readonly #parts: SettlerParts
  readonly #withheld = new WithheldFiles()
  readonly #suspended = new SuspendedRows()
  readonly #locks = new KeyedLock()
  readonly #small = limitConcurrency(SMALL_FILES_AT_ONCE)
  readonly #large = limitConcurrency(LARGE_FILES_AT_ONCE)
  readonly #leases = new Map<number, AbortController>()
  readonly #earlyBreaks = new Set<number>()
  /** Place of the last `dirty` of an inode whose row is not deleted yet. */
  readonly #dirtySince = new Map<string, number>()
  /** Changes of rows that were told and are not in the table yet, by inode. */
  readonly #background = new Map<Promise<void>, string>()
  #hashedBytes = 0

  constructor(parts: SettlerParts) {
    this.#parts = parts
  }

  /** Bytes that were read and hashed since the start: what was not changed is not. */
  get hashedBytes(): number {
    return this.#hashedBytes
  }

  /**
   * Settles one file. What stands in the way is an outcome; errors are of this machine: a full
   * disk, a read that failed.
   */
  async settle(request: SettleRequest): Promise<SettleOutcome> {
    const run = await this.#limitFor(request.path)
    return run(() => this.exclusive(request.id, () => this.#settleLocked(request)))
  }

  /**
   * A placeholder was completed with content that is known: its row is written without hashing
   * it again, unless somebody opened it for writing in between.
   */
  adopt(path: string, id: InodeId, content: CompletedContent): Promise<SettleOutcome> {
    return this.exclusive(id, () =>
      this.#withLease({ path, id, listed: content.stamp }, async (lease) => {
        if (!sameStamp(lease.stamp, content.stamp)) {
          return { state: 'broken', reason: 'it changed after its last byte came' }
        }
        // It came with a root, so its object is never one that no root has seen.
        return (await this.#finish(id, lease, content)).outcome
      }),
    )
  }

  /** Runs `fn` when nothing else settles, renews or deletes the row of this inode. */
  exclusive<T>(id: InodeId, fn: () => Promise<T>): Promise<T> {
    return this.#locks.run(inodeKey(id), fn)
  }

  /** Why a file of this content is in no root under this name, if it was read and found so. */
  withheldFor(id: InodeId, path: string, stamp: Stamp): string | undefined {
    return this.#withheld.reasonFor(id, path, stamp)
  }

  /** The engine says that the file may change from here on: its row goes. */
  dirty(id: InodeId, sequence: number): void {
    const key = inodeKey(id)
    this.watch.forget(id)
    this.#withheld.forget(id)
    this.#dirtySince.set(key, sequence)
    this.#own(
      key,
      this.exclusive(id, async () => {
        // A settling that was answered after this event has written a row that is newer.
        if (this.#dirtySince.get(key) === sequence) {
          await this.#suspend(id)
          this.#dirtySince.delete(key)
        }
      }),
    )
  }

  /** The engine changed attributes or names of a clean file: the content is what it was. */
  renew(id: InodeId, old: Stamp, next: Stamp): void {
    this.#own(
      inodeKey(id),
      this.exclusive(id, async () => {
        if (await this.#parts.database.files.renewStamp(id, old, next)) {
          this.watch.replaced(id, old)
        }
      }),
    )
  }

  /** Somebody opens the file for writing: what was read of it may be old already. */
  broken(lease: number): void {
    const controller = this.#leases.get(lease)
    if (controller !== undefined) {
      controller.abort(new ModelcacheError('the lease was broken', { code: 'lease-broken' }))
      return
    }
    this.#earlyBreaks.add(lease)
    const [oldest] = this.#earlyBreaks
    if (this.#earlyBreaks.size > MAX_EARLY_BREAKS && oldest !== undefined) {
      this.#earlyBreaks.delete(oldest)
    }
  }

  /** Waits until every change that was told so far is in the table. */
  async idle(): Promise<void> {
    while (this.#background.size > 0) {
      await Promise.all(this.#background.keys())
    }
  }

  /** Waits until what was told so far of this inode is in the table. */
  async told(id: InodeId): Promise<void> {
    const key = inodeKey(id)
    const jobs = [...this.#background].filter(([, inode]) => inode === key)
    await Promise.all(jobs.map(([job]) => job))
  }

  async #suspend(id: InodeId): Promise<void> {
    const { database, exactStamps } = this.#parts
    const row = exactStamps ? await database.files.get(id) : undefined
    if (row !== undefined) {
      this.#suspended.suspend(id, row)
    }
    await database.files.delete(id)
  }

  /** A row that could not be deleted would call a dirty file clean: that must not go on. */
  #own(key: string, job: Promise<void>): void {
    const owned = job
      .catch((error: unknown) => this.#parts.onFatal(error))
      .finally(() => this.#background.delete(owned))
    this.#background.set(owned, key)
  }

  async #limitFor(path: string): Promise<LimitedRun> {
    try {
      const { size } = await lstat(join(this.#parts.treeDir, path))
      return size > LARGE_FILE_BYTES ? this.#large : this.#small
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
        return this.#small
      }
      throw error
    }
  }

  async #settleLocked(request: SettleRequest): Promise<SettleOutcome> {
    if (request.signal?.aborted) {
      return { state: 'busy', reason: 'there was no time left to hash it' }
    }
    // Its inner nodes are in no row yet.
    const hold = this.#parts.nodes.hold()
    try {
      return await this.#withLease(request, (lease, signal) =>
        this.#underLease(request, lease, signal),
      )
    } finally {
      hold.end()
    }
  }

  async #withLease(
    request: SettleRequest,
    work: (lease: Lease, signal: AbortSignal) => Promise<SettleOutcome>,
  ): Promise<SettleOutcome> {
    const lease = await this.#take(request)
    if ('state' in lease) {
      return lease
    }
    const breaks = new AbortController()
    this.#leases.set(lease.number, breaks)
    if (this.#earlyBreaks.delete(lease.number)) {
      breaks.abort(new ModelcacheError('the lease was broken', { code: 'lease-broken' }))
    }
    const signal = AbortSignal.any([breaks.signal, ...(request.signal ? [request.signal] : [])])
    try {
      signal.throwIfAborted()
      return await work(lease, signal)
    } catch (error) {
      if (breaks.signal.aborted || isErrno(error, 'ECANCELED')) {
        return { state: 'broken', reason: 'it was opened for writing' }
      }
      if (request.signal?.aborted) {
        return { state: 'busy', reason: 'there was no time left to hash it' }
      }
      throw error
    } finally {
      this.#leases.delete(lease.number)
      // After `settled`, which lets the lease go, it says nothing: numbers are not used again.
      this.#parts.engine.unlease(lease.number)
    }
  }

  async #take({ path, id }: SettleRequest): Promise<Lease | SettleOutcome> {
    try {
      return await this.#parts.engine.lease(path, id)
    } catch (error) {
      if (isErrno(error, 'EAGAIN')) {
        return { state: 'busy', reason: 'it is open or mapped for writing' }
      }
      if (isErrno(error, 'ESTALE', 'ENOENT')) {
        return { state: 'gone', reason: 'the name has another file or none' }
      }
      throw error
    }
  }

  async #underLease(
    request: SettleRequest,
    lease: Lease,
    signal: AbortSignal,
  ): Promise<SettleOutcome> {
    reached('settle.leased')
    const { path, id, listed } = request
    const row = await this.#parts.database.files.get(id)
    if (listed !== undefined && !sameStamp(lease.stamp, listed)) {
      // Settled by another job between listing and lease: our link has moved the ctime.
      const same = row !== undefined && sameStamp(row.stamp, lease.stamp)
      if (!same || !this.watch.describes(id, row.stamp, listed)) {
        return { state: 'broken', reason: 'it changed after the listing' }
      }
    }
    const withheld = this.#withheld.reasonFor(id, path, lease.stamp)
    if (withheld !== undefined) {
      return { state: 'withheld', reason: withheld }
    }
    const known = [row, this.#suspended.get(id)].filter((one) => one !== undefined)
    const content = await hashLeased(this.#parts, path, id, lease, known, signal)
    if ('reason' in content) {
      this.#withheld.remember(id, content)
      return { state: 'withheld', reason: content.reason }
    }
    signal.throwIfAborted()
    if ('row' in content) {
      return this.#keep(id, lease, content)
    }
    this.#hashedBytes += content.stamp.sizeBytes
    const { outcome, isNew } = await this.#finish(id, lease, content)
    if (isNew) {
      this.#parts.onFirstObject?.(id)
    }
    return outcome
  }

  /** Nothing was written: the row is what it was, with the stamp that the engine answers. */
  async #keep(id: InodeId, lease: Lease, content: KnownContent): Promise<SettleOutcome> {
    const { database, engine } = this.#parts
    const stamp = await engine.settled(lease.number, content.row.oid)
    if (this.#isDirtySince(id, lease)) {
      return { state: 'broken', reason: 'it was opened for writing' }
    }
    const row = { ...content.row, stamp }
    await database.files.put(id, row)
    this.#suspended.forget(id)
    this.watch.replaced(id, content.stamp)
    return { state: 'settled', row }
  }

  /**
   * True when a `dirty` came after the lease was granted. Before `settled` that would have broken
   * the lease, so it is of later; whether it overtook the answer does not matter then. What came
   * before the lease is over.
   */
  #isDirtySince(id: InodeId, lease: Lease): boolean {
    const key = inodeKey(id)
    if ((this.#dirtySince.get(key) ?? 0) > lease.sequence) {
      return true
    }
    this.#dirtySince.delete(key)
    return false
  }

  /** Object first, then leaves, then the row: what a crash leaves over is dropped at start. */
  async #finish(
    id: InodeId,
    lease: Lease,
    content: LeasedContent | CompletedContent,
  ): Promise<{ outcome: SettleOutcome; isNew: boolean }> {
    const { database, engine } = this.#parts
    const known = await database.objects.objectOf(id)
    const oid = known ?? (await database.objects.nextOid())
    const stamp = await engine.settled(lease.number, oid)
    reached('settle.linked')
    if (this.#isDirtySince(id, lease)) {
      return { outcome: { state: 'broken', reason: 'it was opened for writing' }, isNew: false }
    }
    await database.leaves.put(oid, content.leaves)
    reached('settle.leaves')
    const row: FileRow = { stamp, cid: content.cid, tsizeBytes: content.tsizeBytes, oid }
    if ('sha256' in content && content.sha256 !== undefined) {
      row.sha256 = content.sha256
    }
    if ('gitSha1' in content && content.gitSha1 !== undefined) {
      row.gitSha1 = content.gitSha1
    }
    await database.files.put(id, row)
    reached('settle.row')
    this.#suspended.forget(id)
    this.watch.replaced(id, content.stamp)
    return { outcome: { state: 'settled', row }, isNew: known === undefined }
  }
}
