import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { type Clock, type Logger, messageOf, systemClock } from '../base/index.ts'
import { DAG_CBOR_CODE, DAG_PB_CODE, RAW_CODE } from '../ipfs/index.ts'

/** What the set asks of the store. None of it goes to the network. */
export interface ServedSetComponents {
  /** A node of our own store; undefined where it is not here. */
  getNode(cid: CID): Promise<Uint8Array | undefined>
  /** The files (their CIDs) whose settled objects hold a leaf of this SHA-256. */
  filesWithLeaf(digest: Uint8Array): Promise<readonly CID[]>
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
  #roots = new Set<string>()
  #marking: Promise<void> = Promise.resolve()
  #revisitedAtMs = Number.NEGATIVE_INFINITY

  constructor(components: ServedSetComponents) {
    this.#components = components
    this.#clock = components.clock ?? systemClock
  }

  /** True for a node or a file (its root) of a commit. Waits for a commit that is just marked. */
  async hasNodeOrFile(cid: CID): Promise<boolean> {
    const key = keyOf(cid)
    if (this.#allowed.has(key) && this.#rootsAreKnown()) {
      return true
    }
    await this.#queue(() => this.#followRoots())
    if (!this.#allowed.has(key) && this.#missing.size > 0) {
      await this.#queue(() => this.#revisitMissing())
    }
    return this.#allowed.has(key)
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
    return files.some((file) => this.#allowed.has(keyOf(file)))
  }

  /** Waits for the walk under way. */
  async close(): Promise<void> {
    await this.#marking
  }

  /** One walk at a time; a failed one is the failure of who asked for it. */
  #queue(walk: () => Promise<void>): Promise<void> {
    const next = this.#marking.then(walk)
    this.#marking = next.catch((error: unknown) => {
      this.#components.logger.warn('could not read the nodes of a root', {
        reason: messageOf(error),
      })
    })
    return next
  }

  #served(): readonly CID[] {
    return this.#components.roots().slice(0, MAX_ROOTS)
  }

  #rootsAreKnown(): boolean {
    const roots = this.#served()
    return roots.length === this.#roots.size && roots.every((root) => this.#roots.has(keyOf(root)))
  }

  async #followRoots(): Promise<void> {
    const roots = this.#served()
    const keys = new Set(roots.map(keyOf))
    if ([...this.#roots].some((known) => !keys.has(known))) {
      // A root was let go: what only it held must not be served any more.
      this.#allowed = new Set()
      this.#missing = new Map()
      this.#roots = new Set()
    }
    for (const root of roots) {
      const key = keyOf(root)
      if (!this.#roots.has(key)) {
        await this.#walk([root])
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
    await this.#walk(missing)
  }

  /** Marks all that is reachable. What is marked already was walked already. */
  async #walk(start: readonly CID[]): Promise<void> {
    const stack = [...start]
    for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
      const key = keyOf(cid)
      if (this.#allowed.has(key)) {
        continue
      }
      this.#allowed.add(key)
      if (cid.code !== RAW_CODE) {
        const bytes = await this.#components.getNode(cid)
        if (bytes === undefined) {
          this.#missing.set(key, cid)
        } else {
          stack.push(...childrenOf(cid, bytes))
        }
      }
    }
  }
}

/** One character a byte: the shortest string that V8 can hold. A CIDv0 is its CIDv1. */
function keyOf(cid: CID): string {
  return Buffer.from(cid.toV1().bytes).toString('latin1')
}

/** The nodes and files that a node leads to; the raw leaves of a file are left out. */
function childrenOf(cid: CID, bytes: Uint8Array): CID[] {
  if (cid.code === DAG_PB_CODE) {
    return childrenOfPb(bytes)
  }
  return cid.code === DAG_CBOR_CODE ? linksIn(dagCbor.decode(bytes)) : []
}

function childrenOfPb(bytes: Uint8Array): CID[] {
  const node = dagPb.decode(bytes)
  const links = node.Links.map((link) => CID.asCID(link.Hash) ?? CID.decode(link.Hash.bytes))
  const isDirectory = node.Data !== undefined && UnixFS.unmarshal(node.Data).isDirectory()
  return isDirectory ? links : links.filter((link) => link.code !== RAW_CODE)
}

/**
 * All links of a commit or of meta but `parents`: each root is walked for itself, and only while
 * it is served.
 */
function linksIn(value: unknown): CID[] {
  const cid = CID.asCID(value)
  if (cid !== null) {
    return [cid]
  }
  if (Array.isArray(value)) {
    return value.flatMap(linksIn)
  }
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    return Object.entries(value).flatMap(([name, inner]) =>
      name === 'parents' ? [] : linksIn(inner),
    )
  }
  return []
}
