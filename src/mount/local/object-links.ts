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

/** The ctime that a change of ours gave to an inode, and the one that programs saw before. */
interface OwnCtime {
  oursNs: bigint
  shownNs: bigint
}

/**
 * objects/: one hard link to the inode of each settled file, named by a number. The link is ours,
 * so `st_nlink` as programs see it does not count it, and `st_ctime` does not show when it was made:
 * who compares a ctime (git's index, rsync, backups) would take the file for changed.
 */
export class ObjectLinks {
  readonly #dir: string
  /** How many of our links an inode has. One with a link cannot be another file. */
  readonly #links: Map<bigint, number>
  /** In memory: the next mount shows what the disk has. */
  readonly #ctimes = new Map<bigint, OwnCtime>()

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

  /** The ctime of an inode as programs see it. A change of anybody else gives another, which is shown. */
  shownCtimeNs(ino: bigint, ctimeNs: bigint): bigint {
    const own = this.#ctimes.get(ino)
    return own?.oursNs === ctimeNs ? own.shownNs : ctimeNs
  }

  /** The last name of a file went: nobody asks for its ctime but who has it open. */
  gone(ino: bigint): void {
    this.#ctimes.delete(ino)
  }

  inodes(): Iterable<bigint> {
    return this.#links.keys()
  }

  /** Links the file of a descriptor as objects/OID; fine if it is there already. */
  link(fd: number, ino: bigint, oid: bigint): void {
    const path = this.#path(oid)
    const before = fstatSync(fd, { bigint: true })
    try {
      linkFd(fd, path)
    } catch (error) {
      if (isErrno(error, 'EEXIST') && lstatSync(path, { bigint: true }).ino === ino) {
        return
      }
      throw error
    }
    this.#links.set(ino, this.of(ino) + 1)
    this.#moved(before, fstatSync(fd, { bigint: true }))
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
      const before = fstatSync(fd, { bigint: true })
      const { ino } = before
      unlinkSync(path)
      const left = this.of(ino) - 1
      if (left > 0) {
        this.#links.set(ino, left)
      } else {
        this.#links.delete(ino)
      }
      const after = fstatSync(fd, { bigint: true })
      if (after.nlink === 0n) {
        this.#ctimes.delete(ino)
      } else {
        this.#moved(before, after)
      }
    } catch (error) {
      closeSync(fd)
      throw error
    }
    await closeLater(fd)
  }

  #moved(before: BigIntStats, after: BigIntStats): void {
    const shownNs = this.shownCtimeNs(before.ino, before.ctimeNs)
    this.#ctimes.set(after.ino, { oursNs: after.ctimeNs, shownNs })
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
