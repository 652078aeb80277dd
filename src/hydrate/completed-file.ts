import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import { fileLeaves, statNode } from '../dag/index.ts'
import { DAG_PB_CODE, RAW_CODE } from '../ipfs/index.ts'
import type { Leaf, PlaceholderRecord, Stamp } from '../tree/index.ts'
import type { Sources } from './sources.ts'

/** What is known of a file that was fetched to its last byte: it need not be hashed again. */
export interface CompletedFile {
  cid: CID
  /** Bytes of the file's whole DAG, as Kubo counts them. */
  tsizeBytes: number
  /** Its raw leaves, for the leaf index. Data that lies in nodes is in the node store. */
  leaves: Leaf[]
  stamp: Stamp
}

/** Reads from the file's nodes what its row and the leaf index need. */
export async function describeFile(
  sources: Sources,
  record: PlaceholderRecord,
): Promise<Omit<CompletedFile, 'stamp'>> {
  const { cid, sizeBytes } = record
  const leaves: Leaf[] = []
  const getBlock = (block: CID) => sources.getBlock(block)
  const whole = { start: 0, end: sizeBytes }
  for await (const leaf of fileLeaves(getBlock, cid, whole, { sizeBytes })) {
    if (leaf.bytes === undefined && leaf.cid.code === RAW_CODE) {
      leaves.push({
        digest: leaf.cid.multihash.digest,
        offset: leaf.offset,
        length: leaf.length,
      })
    }
  }
  return { cid, tsizeBytes: await tsizeOf(sources, cid, sizeBytes), leaves }
}

/**
 * Throws `malformed-file` where the file's root node says another size than the placeholder. A
 * raw leaf says nothing: its hash fails where the size is wrong.
 */
export async function assertSize(
  sources: Pick<Sources, 'getBlock'>,
  { cid, sizeBytes }: PlaceholderRecord,
): Promise<void> {
  if (cid.code === RAW_CODE) {
    return
  }
  const stat = await statNode((block) => sources.getBlock(block), cid)
  if (stat.type !== 'f' || stat.sizeBytes !== sizeBytes) {
    throw new ModelcacheError(
      `${cid}: its node is of type ${stat.type} with ${stat.sizeBytes} bytes, not a file of ` +
        `${sizeBytes}`,
      { code: 'malformed-file', errno: 'EIO' },
    )
  }
}

/** The size of a DAG: its root block, and what its links say of theirs. */
export async function tsizeOf(
  sources: Pick<Sources, 'getBlock'>,
  cid: CID,
  sizeBytes: number,
): Promise<number> {
  if (cid.code !== DAG_PB_CODE) {
    return sizeBytes
  }
  const bytes = await sources.getBlock(cid)
  const { Links: links } = dagPb.decode(bytes)
  return links.reduce((sum, link) => sum + (link.Tsize ?? 0), bytes.length)
}
