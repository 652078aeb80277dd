import {
  type BigIntStats,
  close,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  unlinkSync,
} from 'node:fs'
import { opendir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fsyncDirectory, isErrno, linkFd, nextTurn, O_PATH } from '../../base/index.ts'
import { type InodeId, inodeIdOf } from '../../tree/index.ts'

/** Objects that are looked at before others have their turn. */
const PER_TURN = 500
const OID_NAME = /^\d+$/

const closeLater = promisify(close)

/**
 * objects/: one hard link to the inode of each settled file, named by a number. The link is ours,
 * so `st_nlink` as programs see it does not count it.
 */
export class ObjectLinks {
  readonly #dir: string
  /** How many of our links an inode has. One with a link cannot be another file. */
  readonly #links: Map<bigint, number>

  private constructor(dir: string, links: Map<bigint, number>) {
    this.#dir = dir
    this.#links = links
  }

  /** Reads the folder. */
  static async open(dir: string): Promise<ObjectLinks> {
    const links = new Map<bigint, number>()
    for await (const [, { ino }] of objectsIn(dir)) {
      links.set(ino, (links.get(ino) ?? 0) + 1)
    }
    return new ObjectLinks(dir, links)
  }

  of(ino: bigint): number {
    return this.#links.get(ino) ?? 0
  }

  inodes(): Iterable<bigint> {
    return this.#links.keys()
  }

  /** Links the file of a descriptor as objects/OID; fine if it is there already. */
  link(fd: number, ino: bigint, oid: bigint): void {
    const path = this.#path(oid)
    try {
      linkFd(fd, path)
    } catch (error) {
      if (isErrno(error, 'EEXIST') && lstatSync(path, { bigint: true }).ino === ino) {
        return
      }
      throw error
    }
    this.#links.set(ino, this.of(ino) + 1)
  }

  /** Removes objects; one that is not there is fine. Durable when it returns. */
  async unlink(oids: readonly bigint[]): Promise<void> {
    for (const oid of oids) {
      await this.#unlink(oid)
    }
    await fsyncDirectory(this.#dir)
  }

  /** Inodes to which only objects lead: their last name in the tree went. */
  async nameless(): Promise<InodeId[]> {
    const found: InodeId[] = []
    for await (const [, stats] of objectsIn(this.#dir)) {
      if (stats.nlink === BigInt(this.of(stats.ino))) {
        found.push(inodeIdOf(stats))
      }
    }
    return found
  }

  /**
   * Name and table change in one step. What that frees can be many gigabytes and is freed by the
   * last close, in another thread; until then the inode number is nobody else's.
   */
  async #unlink(oid: bigint): Promise<void> {
    const path = this.#path(oid)
    let fd: number
    try {
      fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return
      }
      throw error
    }
    try {
      const { ino } = fstatSync(fd, { bigint: true })
      unlinkSync(path)
      const left = this.of(ino) - 1
      if (left > 0) {
        this.#links.set(ino, left)
      } else {
        this.#links.delete(ino)
      }
    } catch (error) {
      closeSync(fd)
      throw error
    }
    await closeLater(fd)
  }

  #path(oid: bigint): string {
    return join(this.#dir, oid.toString())
  }
}

async function* objectsIn(dir: string): AsyncGenerator<[name: string, BigIntStats]> {
  let count = 0
  for await (const { name } of await opendir(dir)) {
    if (OID_NAME.test(name)) {
      const stats = lstatSync(join(dir, name), { bigint: true, throwIfNoEntry: false })
      if (stats !== undefined) {
        yield [name, stats]
      }
      count += 1
      if (count % PER_TURN === 0) {
        await nextTurn()
      }
    }
  }
}
