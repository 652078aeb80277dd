import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { ModelcacheError, messageOf } from '../base/index.ts'
import { identityBytes, MAX_BLOCK_BYTES } from '../blocks/index.ts'
import type { GetBlock } from './types.ts'

/** A child of a node. */
export interface NodeLink {
  name: string
  cid: CID
  tsizeBytes: number
}

/** A dag-pb node of UnixFS, validated as far as one block can be. */
export type UnixfsNode =
  | { type: 'file'; sizeBytes: number; data: Uint8Array; links: NodeLink[]; sizes: number[] }
  | { type: 'directory'; links: NodeLink[]; block: Uint8Array }
  | { type: 'shard'; links: NodeLink[]; block: Uint8Array; fanout: number }
  | { type: 'symlink'; target: string }

/** PATH_MAX of Linux without its NUL. */
export const MAX_TARGET_BYTES = 4095

/** EIO: what came from outside is not what it should be. */
export function malformed(cid: CID, why: string): ModelcacheError {
  return new ModelcacheError(`node ${cid}: ${why}`, { code: 'malformed-node', errno: 'EIO' })
}

/** True for a CID whose block is a piece of a file and nothing else. */
export function isRaw(cid: CID): boolean {
  return cid.code === raw.code
}

/**
 * One block within the limits of every block: 2 MiB, and a hash that can vouch for it. Verifying
 * is what `getBlock` does.
 */
export async function readBlock(
  getBlock: GetBlock,
  cid: CID,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const bytes = identityBytes(cid) ?? (await getBlock(cid, signal))
  if (bytes.length > MAX_BLOCK_BYTES) {
    throw malformed(cid, `a block of ${bytes.length} bytes`)
  }
  return bytes
}

/** Reads and checks a dag-pb node. Throws `malformed-node` or `not-unixfs`. */
export async function readNode(
  getBlock: GetBlock,
  cid: CID,
  signal?: AbortSignal,
): Promise<UnixfsNode> {
  if (cid.code !== dagPb.code) {
    throw notUnixfs(cid, `codec 0x${cid.code.toString(16)}`)
  }
  const block = await readBlock(getBlock, cid, signal)
  const { node, unixfs } = decodeNode(cid, block)
  const links = node.Links.map((link) => ({
    name: link.Name ?? '',
    cid: link.Hash,
    tsizeBytes: Number.isSafeInteger(link.Tsize) ? (link.Tsize ?? 0) : 0,
  }))
  switch (unixfs.type) {
    case 'file':
    case 'raw':
      return fileNode(cid, unixfs, links)
    case 'directory':
      return { type: 'directory', links, block }
    case 'hamt-sharded-directory':
      return { type: 'shard', links, block, fanout: fanoutOf(cid, unixfs) }
    case 'symlink':
      return { type: 'symlink', target: targetOf(cid, unixfs.data ?? new Uint8Array()) }
    default:
      throw notUnixfs(cid, `type ${unixfs.type}`)
  }
}

/** Throws for a target that no symbolic link on a local disk can have. */
export function checkTarget(target: string): void {
  const length = Buffer.byteLength(target)
  if (length === 0 || length > MAX_TARGET_BYTES || target.includes('\0')) {
    throw new ModelcacheError(`symbolic link: a target of ${length} bytes, or with NUL`, {
      code: 'bad-target',
      errno: 'EINVAL',
    })
  }
}

function decodeNode(cid: CID, block: Uint8Array) {
  try {
    const node = dagPb.decode(block)
    if (node.Data === undefined) {
      throw new TypeError('it has no data')
    }
    return { node, unixfs: UnixFS.unmarshal(node.Data) }
  } catch (error) {
    throw notUnixfs(cid, messageOf(error))
  }
}

function fileNode(cid: CID, unixfs: UnixFS, links: NodeLink[]): UnixfsNode {
  const size = unixfs.fileSize()
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw malformed(cid, `a file of ${size} bytes`)
  }
  if (unixfs.blockSizes.length !== links.length) {
    throw malformed(cid, `${links.length} links and ${unixfs.blockSizes.length} sizes`)
  }
  return {
    type: 'file',
    sizeBytes: Number(size),
    data: unixfs.data ?? new Uint8Array(),
    links,
    sizes: unixfs.blockSizes.map(Number),
  }
}

/** boxo refuses more than 1,024 since CVE-2023-23625; fewer than 8 no implementation makes. */
function fanoutOf(cid: CID, unixfs: UnixFS): number {
  const fanout = Number(unixfs.fanout ?? 0n)
  const powerOfTwo = fanout >= 8 && fanout <= 1024 && (fanout & (fanout - 1)) === 0
  if (!powerOfTwo || (unixfs.data?.length ?? 0) > fanout / 8) {
    throw malformed(cid, `a shard with fan-out ${unixfs.fanout ?? 0n}`)
  }
  return fanout
}

function targetOf(cid: CID, data: Uint8Array): string {
  try {
    const target = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
    checkTarget(target)
    return target
  } catch (error) {
    throw malformed(cid, messageOf(error))
  }
}

function notUnixfs(cid: CID, why: string): ModelcacheError {
  return new ModelcacheError(`node ${cid} is not UnixFS: ${why}`, {
    code: 'not-unixfs',
    errno: 'EIO',
  })
}
