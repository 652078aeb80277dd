import type { BigIntStats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { isErrno, ModelcacheError } from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import {
  type Database,
  inodeIdOf,
  type Stamp,
  sameInode,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import type { CommitLog, LoggedCommit } from '../writeback/index.ts'
import type { KeptRoots } from './kept-roots.ts'
import { treeDifferences } from './tree-difference.ts'

export interface KeptFilesParts {
  kept: Pick<KeptRoots, 'older'>
  log: Pick<CommitLog, 'current'>
  /** A block of this store; undefined where it is not here. */
  getLocal(cid: CID): Promise<Uint8Array | undefined>
  database: Pick<Database, 'files' | 'objects'>
  objectsDir: string
}

/** What an older root has and the current one has not, or not at the same place. */
interface OlderFiles {
  /** Both roots: it holds only while neither is another. */
  key: string
  /** The first path of each file, by its CID. */
  pathOf: Map<string, { cid: CID; path: string; sizeBytes: number }>
  /** Directories whose nodes are not here. */
  unknown: string[]
}

/**
 * The files that only older kept roots need. They are found by comparing each of these roots with
 * the current one, which costs what changed and not what there is.
 */
export class KeptFiles {
  readonly #parts: KeptFilesParts
  #older: OlderFiles[] = []

  constructor(parts: KeptFilesParts) {
    this.#parts = parts
  }

  /** Before `needs` is asked: takes notice of the roots that are kept now. */
  async refresh(): Promise<void> {
    const { kept, log } = this.#parts
    const current = log.current()
    const next: OlderFiles[] = []
    for (const root of current === undefined ? [] : kept.older()) {
      next.push(await this.#of(root, current))
    }
    this.#older = next
  }

  /** True for a file that an older kept root has. */
  needs(file: CID): boolean {
    const key = file.toString()
    return this.#older.some(({ pathOf }) => pathOf.has(key))
  }

  /**
   * Paths of an older root whose bytes are not on this machine: never fetched, or overwritten in
   * place since.
   */
  async missing(root: LoggedCommit): Promise<string[]> {
    const { pathOf, unknown } = await this.#of(root, this.#parts.log.current())
    const paths = [...unknown]
    for (const { cid, path, sizeBytes } of pathOf.values()) {
      if (sizeBytes > 0 && (await this.objectOf(cid)) === undefined) {
        paths.push(path)
      }
    }
    return paths.toSorted()
  }

  /** An object that holds this file, unchanged since it was settled. */
  async objectOf(file: CID): Promise<bigint | undefined> {
    const { database } = this.#parts
    for (const { oid, id } of await database.objects.byCid(file)) {
      const stats = await this.#statsOf(oid)
      if (stats !== undefined && sameInode(inodeIdOf(stats), id)) {
        const row = await database.files.get(id)
        if (row?.cid.equals(file) && isUnchanged(row.stamp, stats)) {
          return oid
        }
      }
    }
    return undefined
  }

  async #statsOf(oid: bigint) {
    try {
      return await lstat(join(this.#parts.objectsDir, oid.toString()), { bigint: true })
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return undefined
      }
      throw error
    }
  }

  async #of(root: LoggedCommit, current: LoggedCommit | undefined): Promise<OlderFiles> {
    const key = `${root.root} ${current?.root}`
    const known = this.#older.find((one) => one.key === key)
    if (known !== undefined) {
      return known
    }
    const files: OlderFiles = { key, pathOf: new Map(), unknown: [] }
    const getBlock = this.#localBlock()
    try {
      for await (const { path, before } of treeDifferences(getBlock, root, current)) {
        const id = before?.type === 'f' ? before.cid.toString() : undefined
        if (before?.type === 'f' && id !== undefined && !files.pathOf.has(id)) {
          files.pathOf.set(id, { cid: before.cid, path, sizeBytes: before.sizeBytes })
        }
      }
    } catch (error) {
      // A node that is not here, or that a stranger made: what it leads to nobody can know.
      if (!(error instanceof ModelcacheError)) {
        throw error
      }
      files.unknown.push('.')
    }
    return files
  }

  #localBlock(): GetBlock {
    return async (cid) => {
      const bytes = await this.#parts.getLocal(cid)
      if (bytes === undefined) {
        throw new ModelcacheError(`${cid} is not in this store`, { code: NOT_HERE, errno: 'EIO' })
      }
      return bytes
    }
  }
}

/** Losing the last name moves the ctime of a file that nobody can write any more. */
function isUnchanged(stamp: Stamp, stats: BigIntStats): boolean {
  const now = stampOf(stats)
  const nameless = stats.nlink === 1n
  return sameStamp(stamp, nameless ? { ...now, ctimeNs: stamp.ctimeNs } : now)
}

/** Code of the error for a node that was never fetched, or was dropped. */
const NOT_HERE = 'not-here'
