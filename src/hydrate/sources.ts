import type { CID } from 'multiformats/cid'
import type { GetBlock } from '../dag/index.ts'
import type { FetchedLeaf, FileLeaf } from '../ipfs/index.ts'

/** Where bytes come from; `Network` of src/ipfs is one. Everything it gives is verified. */
export interface Sources {
  /** Any block, from our own store first. */
  getBlock: GetBlock
  /** Only from our own store; undefined for what is not here. */
  getLocal(cid: CID, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** Leaves of a file from peers, in order; see `Network.fetchRange`. */
  fetchRange(
    file: CID,
    offset: number,
    length: number,
    leaves: readonly FileLeaf[],
    signal?: AbortSignal,
  ): AsyncIterable<FetchedLeaf>
}
