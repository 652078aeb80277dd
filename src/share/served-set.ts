import type { CID } from 'multiformats/cid'
import { type Clock, type Logger, messageOf, systemClock } from '../base/index.ts'
import { nodesAndFilesOf } from '../dag/index.ts'
import { RAW_CODE } from '../ipfs/index.ts'

/** What the set asks of the store. None of it goes to the network. */
export interface ServedSetComponents {
  /** A node of our own store; undefined where it is not here. */
  getNode(cid: CID): Promise<Uint8Array | undefined>
  /** The files (their CIDs) whose settled objects hold a leaf of this SHA-256. */
  filesWithLeaf(digest: Uint8Array): Promise<readonly CID[]>
  /** The content of a file that must not leave this machine, whatever root has it. */
  isSecret(file: CID): Promise<boolean>
  /** The commits that are served, the current one first. */
  roots(): readonly CID[]
  logger: Logger
  clock?: Pick<Clock, 'monotonicMs'>
}

/** Older roots than this many are not served: the walk at start is bounded. */
const MAX_ROOTS = 4096

/** A node that was missing is looked for again at most this often. */
const REVISIT_MS = 1_000

/**
 * What may leave this machine: what is reachable from a commit, and nothing else. A file that was
 * settled but is withheld (a secret, an open file, a local-only name) has leaves in the index and
 * is in no commit, so its blocks are refused.
 *
 * Kept in memory are nodes and files, 32 bytes each and what a Set needs; the leaves of a file are
 * not, they are allowed through a file that has them. Why: docs/decisions/what-a-share-serves.md.
 */
export class ServedSet {
  readonly #components: ServedSetComponents
  readonly #clock: Pick<Clock, 'monotonicMs'>
  #allowed = new Set<string>()
  /** Reachable, but not in our store when they were looked for: unlisted directories. */
  #missing = new Map<string, CID>()
  /** The roots that were walked to their end. */
  #roots = new Set<string>()
  /** Counts how often all was forgotten: a walk of an earlier time ends where it is. */
  #generation = 0
  /** Who waits for a CID that a walk has not met yet. */
  readonly #awaited = new Map<string, PromiseWithResolvers<void>>()
  #walking: Promise<void> = Promise.resolve()
  #revisitedAtMs = Number.NEGATIVE_INFINITY

  constructor(components: ServedSetComponents) {
    this.#components = components
    this.#clock = components.clock ?? systemClock
  }

  /** Begins to walk the roots, so that the first request need not wait for it. */
  begin(): void {
    // A failure is logged by the queue, and met again by the request that needs it.
    this.#queue(() => this.#followRoots()).catch(() => undefined)
  }

  /**
   * True for a node or a file (its root) of a commit. While a commit is walked it answers as soon
   * as the walk meets the CID; only a no has to wait for the end.
   */
  async hasNodeOrFile(cid: CID): Promise<boolean> {
    const key = keyOf(cid)
    this.#forgetDroppedRoots()
    if (!this.#allowed.has(key)) {
      await this.#metBy(key, () => this.#followRoots())
    }
    if (!this.#allowed.has(key) && this.#missing.size > 0) {
      await this.#metBy(key, () => this.#revisitMissing())
    }
    return this.#allowed.has(key) && !(await this.#components.isSecret(cid))
  }

  /** True for every block of a commit, leaves too. */
  async hasBlock(cid: CID): Promise<boolean> {
    if (await this.hasNodeOrFile(cid)) {
      return true
    }
    if (cid.code !== RAW_CODE) {
      return false
    }
    const files = await this.#components.filesWithLeaf(cid.multihash.digest)
    for (const file of files) {
      if (await this.#components.isSecret(file)) {
        // The same bytes may be somebody else's, too; they are not told apart.
        return false
      }
    }
    return files.some((file) => this.#allowed.has(keyOf(file)))
  }

  /** Ends the walk under way and waits for it. */
  async close(): Promise<void> {
    this.#forget()
    await this.#walking
  }

  /** Runs a walk after those before it; resolves when it has met the key, or at its end. */
  async #metBy(key: string, walk: () => Promise<void>): Promise<void> {
    const met = this.#awaited.get(key) ?? Promise.withResolvers<void>()
    this.#awaited.set(key, met)
    try {
      await Promise.race([met.promise, this.#queue(walk)])
    } finally {
      if (this.#awaited.get(key) === met) {
        this.#awaited.delete(key)
      }
    }
  }

  /** One walk at a time; a failed one is the failure of who asked for it. */
  #queue(walk: () => Promise<void>): Promise<void> {
    const next = this.#walking.then(walk)
    this.#walking = next.catch((error: unknown) => {
      this.#components.logger.warn('could not read the nodes of a root', {
        reason: messageOf(error),
      })
    })
    return next
  }

  #served(): readonly CID[] {
    return this.#components.roots().slice(0, MAX_ROOTS)
  }

  /** When a root was let go, what only it held must not be served any more. */
  #forgetDroppedRoots(): void {
    const served = new Set(this.#served().map(keyOf))
    if ([...this.#roots].some((known) => !served.has(known))) {
      this.#forget()
    }
  }

  #forget(): void {
    this.#generation += 1
    this.#allowed = new Set()
    this.#missing = new Map()
    this.#roots = new Set()
  }

  async #followRoots(): Promise<void> {
    this.#forgetDroppedRoots()
    const generation = this.#generation
    for (const root of this.#served()) {
      const key = keyOf(root)
      if (!this.#roots.has(key)) {
        await this.#walk([root], generation)
        if (generation !== this.#generation) {
          return
        }
        this.#roots.add(key)
      }
    }
  }

  async #revisitMissing(): Promise<void> {
    const now = this.#clock.monotonicMs()
    if (now - this.#revisitedAtMs < REVISIT_MS) {
      return
    }
    this.#revisitedAtMs = now
    const missing = [...this.#missing.values()]
    this.#missing = new Map()
    for (const cid of missing) {
      this.#allowed.delete(keyOf(cid))
    }
    await this.#walk(missing, this.#generation)
  }

  /** Marks all that is reachable, level by level. What is marked already was walked already. */
  async #walk(start: readonly CID[], generation: number): Promise<void> {
    let level = start
    while (level.length > 0) {
      const next: CID[] = []
      for (const cid of level) {
        if (this.#allow(cid) && cid.code !== RAW_CODE) {
          const bytes = await this.#components.getNode(cid)
          if (generation !== this.#generation) {
            return
          }
          if (bytes === undefined) {
            this.#missing.set(keyOf(cid), cid)
          } else {
            next.push(...nodesAndFilesOf(cid, bytes))
          }
        }
      }
      level = next
    }
  }

  /** False where it was allowed before. */
  #allow(cid: CID): boolean {
    const key = keyOf(cid)
    if (this.#allowed.has(key)) {
      return false
    }
    this.#allowed.add(key)
    this.#awaited.get(key)?.resolve()
    this.#awaited.delete(key)
    return true
  }
}

/** One character a byte: the shortest string that V8 can hold. A CIDv0 is its CIDv1. */
function keyOf(cid: CID): string {
  return Buffer.from(cid.toV1().bytes).toString('latin1')
}
