import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { isErrno, type Logger, messageOf, reserveSpace } from '../../base/index.ts'
import type { InodeId, StorePaths } from '../../tree/index.ts'
import { fsyncFolder } from './store-lock.ts'

/** The log is rewritten when it is longer than this and than twice the set (docs/store.md). */
const REWRITE_LINES = 4096
/**
 * Space that is kept for lines to come. On a full disk a file can still be overwritten in place
 * and truncated, as on any local disk, though that has to be noted first: some two thousand files.
 */
const SPARE_BYTES = 64 * 1024
/** More is asked for when less than this is left of it. */
const LOW_SPARE_BYTES = SPARE_BYTES / 2
/** No descriptor has this number: whoever uses it gets EBADF. */
const CLOSED = -1
const LINE = /^(\d+) (\d+)$/
const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW

/**
 * Which inodes may have changed since they were settled, durably noted before they are opened for
 * writing or truncated (docs/store.md). Synchronous: the program that opens waits for it.
 */
export class DirtyLog {
  readonly #paths: Pick<StorePaths, 'store' | 'dirtyLog'>
  readonly #logger: Logger
  /** Birth times by inode number, of what is noted and not settled. */
  readonly #noted: Map<bigint, bigint>
  #file: number
  #lines: number
  #sizeBytes: number
  /** Up to here the file has space, written or not. */
  #reservedBytes = 0
  /**
   * A write or fdatasync failed. The kernel tells such an error once and may forget the pages, so
   * that the file cannot be trusted any more: the next note writes a new one.
   */
  #failed = false

  /** Opens or creates the log and reads it; a torn last line is ignored. */
  constructor(paths: Pick<StorePaths, 'store' | 'dirtyLog'>, logger: Logger) {
    this.#paths = paths
    this.#logger = logger
    this.#file = openSync(paths.dirtyLog, FLAGS, 0o600)
    try {
      fsyncFolder(paths.store)
      const text = readFileSync(paths.dirtyLog, 'latin1')
      this.#noted = parse(text)
      this.#lines = text.split('\n').length - 1
      if (text !== '' && !text.endsWith('\n')) {
        // The next line must not be glued to a torn one.
        writeAll(this.#file, '\n')
        this.#lines += 1
      }
      this.#sizeBytes = fstatSync(this.#file).size
    } catch (error) {
      closeSync(this.#file)
      throw error
    }
    this.#keepSpare()
  }

  noted(): InodeId[] {
    return [...this.#noted].map(([ino, btimeNs]) => ({ ino, btimeNs }))
  }

  /**
   * Appends the inode; durable on return.
   *
   * @throws the system's error; then the file must not be written
   */
  note({ ino, btimeNs }: InodeId): void {
    if (this.#failed) {
      const noted = new Map(this.#noted).set(ino, btimeNs)
      this.#rewrite(noted)
    } else {
      const line = `${ino} ${btimeNs}\n`
      try {
        writeAll(this.#file, line)
        fdatasyncSync(this.#file)
      } catch (error) {
        this.#failed = true
        throw error
      }
      this.#lines += 1
      this.#sizeBytes += line.length
      this.#keepSpare()
    }
    this.#noted.set(ino, btimeNs)
    if (this.#lines > REWRITE_LINES && this.#lines > 2 * this.#noted.size) {
      this.#tryRewrite()
    }
  }

  /** The inode is settled or gone. */
  forget({ ino, btimeNs }: InodeId): void {
    if (this.#noted.get(ino) === btimeNs) {
      this.#noted.delete(ino)
    }
  }

  /** Nothing has a row that could be wrong: nothing has to be named any more. */
  clear(): void {
    this.#noted.clear()
    if (this.#failed || this.#lines > 0) {
      this.#rewrite(this.#noted)
    }
  }

  /** Nothing is noted after it: the number of a closed descriptor is soon another file's. */
  close(): void {
    closeSync(this.#file)
    this.#file = CLOSED
  }

  /** A long log is no harm, and the note that made it long is durable. */
  #tryRewrite(): void {
    try {
      this.#rewrite(this.#noted, true)
    } catch (error) {
      this.#logger.warn('dirty.log was not rewritten', { reason: messageOf(error) })
    }
  }

  /** @param needsSpare the old log goes on where the new one would have no space to grow */
  #rewrite(noted: ReadonlyMap<bigint, bigint>, needsSpare = false): void {
    const { dirtyLog, store } = this.#paths
    const fresh = `${dirtyLog}.new`
    const text = [...noted].map(([ino, btimeNs]) => `${ino} ${btimeNs}\n`).join('')
    const file = openSync(fresh, FLAGS | constants.O_TRUNC, 0o600)
    let reservedBytes: number | undefined
    try {
      reservedBytes = tryReserve(file, text.length, this.#logger)
      if (needsSpare && reservedBytes === undefined) {
        closeSync(file)
        return
      }
      writeAll(file, text)
      fsyncSync(file)
      renameSync(fresh, dirtyLog)
    } catch (error) {
      closeSync(file)
      throw error
    }
    // From here on the name leads to the new file, whatever fails.
    closeSync(this.#file)
    this.#file = file
    this.#lines = noted.size
    this.#sizeBytes = text.length
    this.#reservedBytes = reservedBytes ?? text.length
    this.#failed = true
    fsyncFolder(store)
    this.#failed = false
  }

  /** Asks for more space before the last of it is used, while there may be some. */
  #keepSpare(): void {
    if (this.#reservedBytes < this.#sizeBytes + LOW_SPARE_BYTES) {
      // Without it, it is asked for again with the next line.
      const reserved = tryReserve(this.#file, this.#sizeBytes, this.#logger)
      this.#reservedBytes = reserved ?? this.#reservedBytes
    }
  }
}

/** The end of the space that the file has then; undefined where there is none to be had now. */
function tryReserve(file: number, sizeBytes: number, logger: Logger): number | undefined {
  try {
    reserveSpace(file, sizeBytes, SPARE_BYTES)
    return sizeBytes + SPARE_BYTES
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS')) {
      // A file system that cannot: nothing to keep, and nothing to ask for again.
      return Number.MAX_SAFE_INTEGER
    }
    logger.debug('dirty.log: no space is kept for it', { reason: messageOf(error) })
    return undefined
  }
}

function writeAll(file: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let written = 0; written < bytes.length; ) {
    written += writeSync(file, bytes, written)
  }
}

/** All whole lines. A number whose birth time changed is another inode: the last counts. */
function parse(text: string): Map<bigint, bigint> {
  const noted = new Map<bigint, bigint>()
  for (const line of text.split('\n').slice(0, -1)) {
    const [, ino, btime] = LINE.exec(line) ?? []
    if (ino !== undefined && btime !== undefined) {
      noted.set(BigInt(ino), BigInt(btime))
    }
  }
  return noted
}
