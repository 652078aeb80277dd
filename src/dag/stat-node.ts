import type { CID } from 'multiformats/cid'
import type { GetBlock, NodeStat } from './types.ts'
import { isRaw, readBlock, readNode } from './unixfs-node.ts'

/**
 * What a node of UnixFS is, from its own block. A raw leaf has to be read whole (at most 2 MiB),
 * since nothing else says how long it is.
 *
 * @throws ModelcacheError `not-unixfs` or `malformed-node`, and what `getBlock` throws
 */
export async function statNode(
  getBlock: GetBlock,
  cid: CID,
  signal?: AbortSignal,
): Promise<NodeStat> {
  if (isRaw(cid)) {
    return { type: 'f', sizeBytes: (await readBlock(getBlock, cid, signal)).length }
  }
  const node = await readNode(getBlock, cid, signal)
  switch (node.type) {
    case 'file':
      return { type: 'f', sizeBytes: node.sizeBytes }
    case 'symlink':
      return { type: 'l', sizeBytes: 0, target: node.target }
    default:
      return { type: 'd', sizeBytes: 0 }
  }
}
