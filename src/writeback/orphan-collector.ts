import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { forEachConcurrently, isErrno, type Logger, messageOf, reached } from '../base/index.ts'
import type { Engine } from '../mount/index.ts'
import {
  type Database,
  type DirectoryRow,
  type InodeId,
  inodeIdOf,
  inodeKey,
  sameInode,
} from '../tree/index.ts'

/** Objects that no root has seen are dropped at once; past this many, by the next commit. */
const MAX_FRESH = 100_000
const DROPS_AT_ONCE = 16

/** What the kept roots before the current one need. */
export interface OlderRoots {
  /** Takes notice of the roots that are kept now. */
  refresh(): Promise<void>
  needs(file: CID): boolean
}

export interface OrphanParts {
  engine: Pick<Engine, 'unlinkObjects'>
  database: Pick<Database, 'files' | 'directories' | 'leaves' | 'objects' | 'secrets' | 'retained'>
  kept: OlderRoots
  objectsDir: string
  logger: Logger
  /** Runs while nothing else works on the row of the inode. */
  exclusive<T>(id: InodeId, fn: () => Promise<T>): Promise<T>
  onFatal(error: unknown): void
}

/**
 * Drops the objects of files that lost their last name, once no kept root needs them: `rm` and a
 * commit free the disk. Of what has no name the current root can only need entries that it carried
 * over; what older kept roots need is asked of `kept`.
 */
export class OrphanCollector {
  readonly #parts: OrphanParts
  /** Inodes without a name, and when the engine said so. */
  readonly #gone = new Map<string, { id: InodeId; sequence: number }>()
  /** Inodes with an object that no root has yet. */
  readonly #fresh = new Set<string>()
  /** File CIDs that directories carry from an earlier root, by the directory's inode. */
  readonly #carried = new Map<string, readonly string[]>()
  readonly #background = new Set<Promise<void>>()
  #commits = 0

  constructor(parts: OrphanParts) {
    this.#parts = parts
  }

  /** Learns which entries the current root carries, and what was retained. Before anything else. */
  async load(): Promise<void> {
    for await (const [id, row] of this.#parts.database.directories.entries()) {
      this.#carries(id, row)
    }
    for await (const id of this.#parts.database.retained.entries()) {
      this.#gone.set(inodeKey(id), { id, sequence: 0 })
    }
  }

  /** The inode has an object for the first time. */
  settled(id: InodeId): void {
    const key = inodeKey(id)
    if (this.#commits === 0 && this.#gone.delete(key)) {
      // Its last name went while it was being settled.
      this.#own(this.#drop(id))
    } else if (this.#fresh.size < MAX_FRESH) {
      this.#fresh.add(key)
    }
  }

  /** A root that is being built has the file: its object stays until the next one. */
  rooted(id: InodeId): void {
    this.#fresh.delete(inodeKey(id))
  }

  /** While a commit runs nothing is dropped at once: it may have listed the name. */
  commitBegins(): { end(): void } {
    this.#commits += 1
    let ended = false
    return {
      end: () => {
        this.#commits -= ended ? 0 : 1
        ended = true
      },
    }
  }

  /** The inode lost its last name. */
  gone(id: InodeId, sequence: number): void {
    const key = inodeKey(id)
    if (this.#commits === 0 && this.#fresh.delete(key)) {
      this.#own(this.#drop(id))
    } else {
      this.#gone.set(key, { id, sequence })
    }
  }

  /** The directories of a new root are in the table. */
  committed(rows: readonly [InodeId, DirectoryRow][]): void {
    for (const [id, row] of rows) {
      this.#carries(id, row)
    }
  }

  /** The directory is gone, and its row with it. */
  forgetDirectory(id: InodeId): void {
    this.#carried.delete(inodeKey(id))
  }

  /** Drops what lost its name before the snapshot that the current root shows. */
  async collect(beforeSequence: number): Promise<void> {
    const due = [...this.#gone.values()].filter(({ sequence }) => sequence < beforeSequence)
    for (const { id } of due) {
      // Directories first: what a removed one carried is needed by nobody.
      if (this.#carried.delete(inodeKey(id))) {
        await this.#parts.database.directories.delete(id)
      }
    }
    if (due.length === 0) {
      return
    }
    const { kept } = this.#parts
    await kept.refresh()
    const carried = new Set([...this.#carried.values()].flat())
    const isNeeded = (file: CID) => carried.has(file.toString()) || kept.needs(file)
    await forEachConcurrently(due, DROPS_AT_ONCE, ({ id }) => this.#dropUnless(id, isNeeded))
  }

  async #dropUnless(id: InodeId, isNeeded: (file: CID) => boolean): Promise<void> {
    const { objects, retained } = this.#parts.database
    const oid = await objects.objectOf(id)
    const object = oid === undefined ? undefined : await objects.get(oid)
    if (object !== undefined && isNeeded(object.cid)) {
      await retained.add(id)
      return
    }
    this.#gone.delete(inodeKey(id))
    await this.#drop(id)
  }

  /** Inodes that still wait for a root that does not need them. */
  get waiting(): number {
    return this.#gone.size
  }

  async close(): Promise<void> {
    await Promise.all(this.#background)
  }

  #carries(id: InodeId, { carried }: DirectoryRow): void {
    if (carried.length === 0) {
      this.#carried.delete(inodeKey(id))
    } else {
      this.#carried.set(
        inodeKey(id),
        carried.map(({ cid }) => cid.toString()),
      )
    }
  }

  /** What could not be dropped is tried again after the next root. */
  async #drop(id: InodeId): Promise<void> {
    try {
      await this.#dropNow(id)
    } catch (error) {
      this.#gone.set(inodeKey(id), { id, sequence: 0 })
      throw error
    }
  }

  /** Row first, then leaves, then the link: what a crash leaves is an object without a row. */
  #dropNow(id: InodeId): Promise<void> {
    const { database, engine } = this.#parts
    return this.#parts.exclusive(id, async () => {
      const oid = await database.objects.objectOf(id)
      await database.retained.delete(id)
      if (oid !== undefined && (await this.#hasName(id, oid))) {
        return
      }
      await database.files.delete(id)
      await database.directories.delete(id)
      await database.secrets.delete(id)
      reached('orphan.row')
      if (oid !== undefined) {
        await database.leaves.drop(oid)
        reached('orphan.leaves')
        await engine.unlinkObjects([oid])
        reached('orphan.unlinked')
        await database.objects.delete(oid)
      }
    })
  }

  /** A file without a name can get one again: by a link to an open descriptor. */
  async #hasName(id: InodeId, oid: bigint): Promise<boolean> {
    try {
      const stats = await lstat(join(this.#parts.objectsDir, oid.toString()), { bigint: true })
      return sameInode(inodeIdOf(stats), id) && stats.nlink > 1n
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return false
      }
      throw error
    }
  }

  #own(job: Promise<void>): void {
    const owned = job
      .catch((error: unknown) => {
        this.#parts.logger.error('object was not dropped', { reason: messageOf(error) })
        this.#parts.onFatal(error)
      })
      .finally(() => this.#background.delete(owned))
    this.#background.add(owned)
  }
}
