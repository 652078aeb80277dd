import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import type { NodeStore } from '../blocks/index.ts'
import { nodesAndFilesOf } from '../dag/index.ts'
import type { Database } from '../tree/index.ts'

export interface CollectNodesParts {
  nodes: Pick<NodeStore, 'hold' | 'sweep'>
  database: Pick<Database, 'files' | 'directories' | 'objects'>
  /** A block of this store; undefined where it is not here. */
  getLocal(cid: CID, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** Every root that is kept. */
  roots(): Iterable<CID>
}

/** What was removed. */
export interface CollectedNodes {
  blocks: number
  bytes: number
}

/**
 * Removes the nodes that no kept root, no row of a file and no directory leads to. No commit may
 * run meanwhile; settling and fetching may: what they put is held. Safe to be killed.
 */
export async function collectNodes(
  parts: CollectNodesParts,
  signal?: AbortSignal,
): Promise<CollectedNodes> {
  const hold = parts.nodes.hold()
  try {
    const needed = new NeededNodes(parts.getLocal, signal)
    for (const root of parts.roots()) {
      await needed.add(root)
    }
    for await (const { cid } of parts.database.objects.entries()) {
      await needed.add(cid)
    }
    for await (const [, { cid }] of parts.database.files.entries()) {
      await needed.add(cid)
    }
    for await (const [, { cid, metaCid }] of parts.database.directories.entries()) {
      await needed.add(cid)
      if (metaCid !== undefined) {
        await needed.add(metaCid)
      }
    }
    return await parts.nodes.sweep((multihash) => needed.has(multihash), signal)
  } finally {
    hold.end()
  }
}

/** The nodes that something leads to, by their multihashes; leaves are not nodes. */
class NeededNodes {
  readonly #getLocal: CollectNodesParts['getLocal']
  readonly #signal: AbortSignal | undefined
  /** Multihashes: the files of nodes are named by them. One character a byte: the shortest string. */
  readonly #keys = new Set<string>()
  /**
   * Whole CIDs: a stranger can name one block with several codecs, and what it leads to shows with
   * the right one only.
   */
  readonly #walked = new Set<string>()

  constructor(getLocal: CollectNodesParts['getLocal'], signal: AbortSignal | undefined) {
    this.#getLocal = getLocal
    this.#signal = signal
  }

  has(multihash: Uint8Array): boolean {
    return this.#keys.has(keyOf(multihash))
  }

  /** The node and all that is below it. What is not here leads nowhere. */
  async add(start: CID): Promise<void> {
    const pending = [start]
    for (let cid = pending.pop(); cid !== undefined; cid = pending.pop()) {
      const walked = keyOf(cid.toV1().bytes)
      if (cid.code !== raw.code && !this.#walked.has(walked)) {
        this.#signal?.throwIfAborted()
        this.#walked.add(walked)
        this.#keys.add(keyOf(cid.multihash.bytes))
        const bytes = await this.#getLocal(cid, this.#signal)
        if (bytes !== undefined) {
          pending.push(...nodesAndFilesOf(cid, bytes))
        }
      }
    }
  }
}

function keyOf(multihash: Uint8Array): string {
  return Buffer.from(multihash).toString('latin1')
}
