import type { CID } from 'multiformats/cid'
import type { Range } from '../base/index.ts'
import { identityBytes, MAX_BLOCK_BYTES } from '../blocks/index.ts'
import type { FileLeaf, GetBlock } from './types.ts'
import { isRaw, malformed, readBlock, readNode } from './unixfs-node.ts'

export interface FileLeavesOptions {
  signal?: AbortSignal | undefined
  /**
   * The size of the whole file where it is known from elsewhere. It spares reading a file of one
   * raw block only to learn its length; the claim is checked when the leaf's bytes are hashed.
   */
  sizeBytes?: number | undefined
}

/** A balanced file of 1024-wide nodes is 4 deep at 1 EiB; a binary one would be 43 at 2^53. */
const MAX_DEPTH = 64

/**
 * The leaves that hold a range of a file, in order; the first and the last may reach beyond it.
 * Only the inner nodes on the way are read. What the nodes say of sizes has to agree at every
 * step. A range beyond the end of the file has no leaves.
 *
 * @throws ModelcacheError `malformed-node`, `not-unixfs`, `not-a-file`, and what `getBlock` throws
 */
export async function* fileLeaves(
  getBlock: GetBlock,
  cid: CID,
  range: Range,
  options: FileLeavesOptions = {},
): AsyncGenerator<FileLeaf> {
  if (!isRaw(cid)) {
    yield* walk(getBlock, { cid, offset: 0, depth: 0 }, range, options.signal)
    return
  }
  const length =
    identityBytes(cid)?.length ??
    options.sizeBytes ??
    (await readBlock(getBlock, cid, options.signal)).length
  yield* leafOf(cid, 0, length, range)
}

interface Place {
  cid: CID
  /** Where the node's part begins in the file. */
  offset: number
  depth: number
  /** What the parent says; the root has none. */
  length?: number
}

async function* walk(
  getBlock: GetBlock,
  place: Place,
  range: Range,
  signal: AbortSignal | undefined,
): AsyncGenerator<FileLeaf> {
  const { cid, depth } = place
  if (depth > MAX_DEPTH) {
    throw malformed(cid, `deeper than ${MAX_DEPTH} levels`)
  }
  const node = await readNode(getBlock, cid, signal)
  if (node.type !== 'file') {
    throw malformed(cid, `a ${node.type} where a file should be`)
  }
  if (place.length !== undefined && node.sizeBytes !== place.length) {
    throw malformed(cid, `${node.sizeBytes} bytes, and its parent says ${place.length}`)
  }
  let offset = place.offset
  if (node.data.length > 0 && touches(offset, node.data.length, range)) {
    yield { cid, offset, length: node.data.length, bytes: node.data }
  }
  offset += node.data.length
  for (const [index, link] of node.links.entries()) {
    const length = node.sizes[index] ?? 0
    if (touches(offset, length, range)) {
      if (isRaw(link.cid)) {
        yield* leafOf(link.cid, offset, length, range)
      } else {
        const child = { cid: link.cid, offset, length, depth: depth + 1 }
        yield* walk(getBlock, child, range, signal)
      }
    }
    offset += length
  }
}

function* leafOf(cid: CID, offset: number, length: number, range: Range): Generator<FileLeaf> {
  if (length > MAX_BLOCK_BYTES) {
    throw malformed(cid, `a leaf of ${length} bytes`)
  }
  const bytes = identityBytes(cid)
  if (bytes !== undefined && bytes.length !== length) {
    throw malformed(cid, `${bytes.length} bytes, and its parent says ${length}`)
  }
  if (touches(offset, length, range)) {
    yield bytes === undefined ? { cid, offset, length } : { cid, offset, length, bytes }
  }
}

function touches(offset: number, length: number, range: Range): boolean {
  const end = Math.min(offset + length, range.end)
  return end > Math.max(offset, range.start)
}
