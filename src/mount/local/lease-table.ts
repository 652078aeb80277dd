import { closeSync, fstatSync } from 'node:fs'
import {
  dropLease,
  hasReadLease,
  isErrno,
  LEASE_SIGNAL,
  ModelcacheError,
  takeReadLease,
} from '../../base/index.ts'
import { type InodeId, type Stamp, stampOf } from '../../tree/index.ts'

/** A lease that was granted, and the file that it is on. */
export interface HeldLease {
  readonly number: number
  readonly id: InodeId
  /** Stays open until the lease is dropped, so that its number leads to this file and no other. */
  readonly fd: number
  /** The name that it was asked by. */
  readonly path: string | undefined
  broken: boolean
}

/**
 * Read leases (fcntl F_SETLEASE): the kernel refuses one while any writer or writable mapping of
 * the file exists, and says by a signal when somebody opens it for writing, who waits until the
 * lease is let go.
 */
export class LeaseTable {
  readonly #leases = new Map<number, HeldLease>()
  /** Leases that hold, by inode number. */
  readonly #byInode = new Map<bigint, HeldLease>()
  readonly #onBroken: (lease: HeldLease) => void
  readonly #onSignal = () => this.#letBrokenGo()
  #last = 0

  /** @param onBroken told after the lease was let go */
  constructor(onBroken: (lease: HeldLease) => void) {
    this.#onBroken = onBroken
    process.on(LEASE_SIGNAL, this.#onSignal)
  }

  /**
   * Takes a lease; the descriptor, which was opened read-only, is the table's from here on.
   *
   * @throws errno EAGAIN where there is a writer, a writable mapping or another lease, and what
   *   the kernel gives
   */
  take(id: InodeId, fd: number, path: string | undefined): { lease: HeldLease; stamp: Stamp } {
    try {
      if (this.#byInode.has(id.ino)) {
        throw new ModelcacheError('lease: another is held', { code: 'EAGAIN', errno: 'EAGAIN' })
      }
      takeReadLease(fd)
      // Taken with the lease: from here on a writer breaks it.
      const stamp = stampOf(fstatSync(fd, { bigint: true }))
      this.#last += 1
      const lease = { number: this.#last, id, fd, path, broken: false }
      this.#leases.set(lease.number, lease)
      this.#byInode.set(id.ino, lease)
      return { lease, stamp }
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** The lease, if it still holds. */
  intact(number: number): HeldLease | undefined {
    const lease = this.#leases.get(number)
    return lease !== undefined && !lease.broken && hasReadLease(lease.fd) ? lease : undefined
  }

  /** Before this very thread opens the file for writing: it would wait for itself. */
  giveUp(ino: bigint): void {
    const lease = this.#byInode.get(ino)
    if (lease !== undefined) {
      this.#break(lease)
    }
  }

  /** Whoever asked for the lease needs it no more. */
  drop(number: number): void {
    const lease = this.#leases.get(number)
    if (lease !== undefined) {
      this.#leases.delete(number)
      this.#forget(lease)
      // The lease goes with its descriptor.
      closeSync(lease.fd)
    }
  }

  close(): void {
    for (const number of [...this.#leases.keys()]) {
      this.drop(number)
    }
    process.off(LEASE_SIGNAL, this.#onSignal)
  }

  /** One signal can stand for several leases: all are looked at; there are a handful. */
  #letBrokenGo(): void {
    for (const lease of [...this.#byInode.values()]) {
      if (!hasReadLease(lease.fd)) {
        this.#break(lease)
      }
    }
  }

  #break(lease: HeldLease): void {
    lease.broken = true
    this.#forget(lease)
    try {
      dropLease(lease.fd)
    } catch (error) {
      // It is gone already: the time that the kernel gives had passed.
      if (!isErrno(error, 'EAGAIN', 'EINVAL')) {
        throw error
      }
    }
    this.#onBroken(lease)
  }

  #forget(lease: HeldLease): void {
    if (this.#byInode.get(lease.id.ino) === lease) {
      this.#byInode.delete(lease.id.ino)
    }
  }
}
