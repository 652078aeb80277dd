import { readFile } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import { isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'
import {
  type CommitLog,
  decodeCommitLine,
  encodeCommitLine,
  type LoggedCommit,
} from '../writeback/index.ts'

/** The current root only: what is removed or renamed over is freed by the next commit. */
const DEFAULT_KEEP = 1
/** Each kept root is compared with the current one at every commit. */
const MAX_PINNED = 1000
const FILE_MODE = 0o600

interface Policy {
  keep: number
  /** Whole, since the log in memory does not reach back for ever. */
  pinned: LoggedCommit[]
}

/**
 * Which roots of a store are kept: the newest few, and those that the user pinned. What they need
 * is not dropped. The policy is a file of the store.
 */
export class KeptRoots {
  readonly #path: string
  readonly #log: Pick<CommitLog, 'commits'>
  #policy: Policy

  private constructor(path: string, log: Pick<CommitLog, 'commits'>, policy: Policy) {
    this.#path = path
    this.#log = log
    this.#policy = policy
  }

  /**
   * @param keep - how many of the newest roots are kept from now on; undefined: as it was
   * @throws ModelcacheError `malformed` for a file that cannot be read
   */
  static async open(
    path: string,
    log: Pick<CommitLog, 'commits'>,
    keep: number | undefined,
  ): Promise<KeptRoots> {
    const roots = new KeptRoots(path, log, await readPolicy(path))
    if (keep !== undefined && keep !== roots.keep) {
      await roots.#save({ ...roots.#policy, keep })
    }
    return roots
  }

  /** How many of the newest roots are kept, the current one counted. */
  get keep(): number {
    return this.#policy.keep
  }

  isPinned(root: CID): boolean {
    return this.#policy.pinned.some((one) => one.root.equals(root))
  }

  /** The kept roots, the current one first, then newest first. */
  roots(): LoggedCommit[] {
    const newest = this.#log.commits().slice(0, this.keep)
    const older = this.#policy.pinned.filter(
      ({ root }) => !newest.some((commit) => commit.root.equals(root)),
    )
    return [...newest, ...older.toSorted((a, b) => b.sequence - a.sequence)]
  }

  /** The kept roots without the current one. */
  older(): LoggedCommit[] {
    return this.roots().slice(1)
  }

  /** Keeps a root until it is unpinned. Durable when it returns. */
  async pin(commit: LoggedCommit): Promise<void> {
    const { root } = commit
    if (this.isPinned(root)) {
      return
    }
    const pinned = [...this.#policy.pinned, commit]
    if (pinned.length > MAX_PINNED) {
      throw new ModelcacheError(
        `pin ${root}: ${MAX_PINNED} roots are pinned already; unpin one first`,
        { code: 'too-many-pins', exitCode: 1 },
      )
    }
    await this.#save({ ...this.#policy, pinned })
  }

  /** @returns false where it was not pinned */
  async unpin(root: CID): Promise<boolean> {
    const known = this.isPinned(root)
    if (known) {
      const pinned = this.#policy.pinned.filter((one) => !one.root.equals(root))
      await this.#save({ ...this.#policy, pinned })
    }
    return known
  }

  async #save(policy: Policy): Promise<void> {
    const { keep, pinned } = policy
    const text = JSON.stringify({ keep, pinned: pinned.map(encodeCommitLine) })
    await writeFileDurable(this.#path, `${text}\n`, FILE_MODE)
    this.#policy = policy
  }
}

async function readPolicy(path: string): Promise<Policy> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return { keep: DEFAULT_KEEP, pinned: [] }
    }
    throw error
  }
  try {
    const value: unknown = JSON.parse(text)
    const { keep, pinned } = Object(value) as Record<string, unknown>
    if (!Number.isSafeInteger(keep) || Number(keep) < 1 || !Array.isArray(pinned)) {
      throw new TypeError('keep or pinned is missing')
    }
    return { keep: Number(keep), pinned: pinned.map((one) => decodeCommitLine(String(one))) }
  } catch (cause) {
    // Guessing would drop what somebody wanted to keep.
    throw new ModelcacheError(
      `${path}: it cannot be read; write {"keep": 1, "pinned": []} into it, or what was there`,
      { code: 'malformed', exitCode: 1, cause },
    )
  }
}
