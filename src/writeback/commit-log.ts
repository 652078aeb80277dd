import { createReadStream } from 'node:fs'
import { truncate } from 'node:fs/promises'
import { CID } from 'multiformats/cid'
import { appendDurable, isErrno, ModelcacheError } from '../base/index.ts'

/** One root of this mount. */
export interface LoggedCommit {
  /** The commit block; of adopted bare UnixFS, the directory itself. */
  root: CID
  tree: CID
  /** Bare UnixFS has none. */
  meta?: CID | undefined
  rootMode: number
  rootMtimeNs: bigint
  /** Lamport clock; 0 of bare UnixFS. */
  sequence: number
  at: Date
  /** It came with `--from` and was not made here. */
  adopted: boolean
}

/** No line is longer: three CIDs and a few numbers. */
const MAX_LINE_BYTES = 4096
/** Older roots are in the file only. */
const MAX_ROOTS = 4096

/** The file `commits`: one JSON line a root, newest last. The current root is its last line. */
export class CommitLog {
  readonly #path: string
  #current: LoggedCommit | undefined
  #adopted: CID | undefined
  /** Newest last. */
  readonly #commits: LoggedCommit[] = []

  private constructor(path: string) {
    this.#path = path
  }

  /**
   * Reads the log. A torn last line (power cut while it was appended) is cut off.
   *
   * @throws ModelcacheError `malformed` where any other line cannot be read
   */
  static async open(path: string): Promise<CommitLog> {
    const log = new CommitLog(path)
    await log.#load()
    return log
  }

  /** The newest root, or undefined before the first. */
  current(): LoggedCommit | undefined {
    return this.#current
  }

  /** The commits of this store, the newest first, at most some thousand. */
  commits(): readonly LoggedCommit[] {
    return this.#commits.toReversed()
  }

  /**
   * The roots of these commits.
   *
   * @param since - the sequence number of the oldest of them
   */
  roots(since = 0): readonly CID[] {
    return this.commits()
      .filter(({ sequence }) => sequence >= since)
      .map(({ root }) => root)
  }

  /** The root that the store began from with `--from`. */
  adopted(): CID | undefined {
    return this.#adopted
  }

  /** Durable when it returns. */
  async append(commit: LoggedCommit): Promise<void> {
    await appendDurable(this.#path, `${encodeCommitLine(commit)}\n`)
    this.#take(commit)
  }

  async #load(): Promise<void> {
    let rest = Buffer.alloc(0)
    let goodBytes = 0
    try {
      for await (const chunk of createReadStream(this.#path)) {
        rest = Buffer.concat([rest, chunk])
        for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
          this.#take(decodeCommitLine(rest.subarray(0, end).toString('utf8')))
          goodBytes += end + 1
          rest = rest.subarray(end + 1)
        }
        if (rest.length > MAX_LINE_BYTES) {
          throw malformed('a line is too long')
        }
      }
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return
      }
      throw error
    }
    if (rest.length > 0) {
      await truncate(this.#path, goodBytes)
    }
  }

  #take(commit: LoggedCommit): void {
    this.#current = commit
    this.#commits.push(commit)
    if (this.#commits.length > MAX_ROOTS) {
      this.#commits.shift()
    }
    if (commit.adopted) {
      this.#adopted = commit.root
    }
  }
}

/** A line of the log, without its end. */
export function encodeCommitLine(commit: LoggedCommit): string {
  return JSON.stringify({
    root: commit.root.toString(),
    tree: commit.tree.toString(),
    ...(commit.meta === undefined ? {} : { meta: commit.meta.toString() }),
    mode: commit.rootMode,
    mtime: commit.rootMtimeNs.toString(),
    sequence: commit.sequence,
    at: commit.at.toISOString(),
    ...(commit.adopted ? { adopted: true } : {}),
  })
}

/** Throws a ModelcacheError of code `malformed` for anything that is no line of the log. */
export function decodeCommitLine(line: string): LoggedCommit {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null) {
      throw malformed('a line is no object')
    }
    const fields = value as Record<string, unknown>
    const { root, tree, meta, mode, mtime, sequence, at, adopted } = fields
    if (typeof mode !== 'number' || typeof sequence !== 'number') {
      throw malformed('a number is missing')
    }
    const time = new Date(String(at))
    if (Number.isNaN(time.getTime())) {
      throw malformed('it has no time')
    }
    return {
      root: CID.parse(String(root)),
      tree: CID.parse(String(tree)),
      meta: meta === undefined ? undefined : CID.parse(String(meta)),
      rootMode: mode,
      rootMtimeNs: BigInt(String(mtime)),
      sequence,
      at: time,
      adopted: adopted === true,
    }
  } catch (cause) {
    throw malformed(`a line cannot be read: ${line.slice(0, 200)}`, cause)
  }
}

function malformed(what: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`commits: ${what}`, { code: 'malformed', exitCode: 1, cause })
}
