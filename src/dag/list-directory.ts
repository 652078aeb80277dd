import * as dagPb from '@ipld/dag-pb'
import { murmur3128 } from '@multiformats/murmur3'
import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import { verifiableHash } from '../blocks/index.ts'
import { badName } from '../tree/index.ts'
import { mapAhead } from './map-ahead.ts'
import type { DirectoryEntry, GetBlock } from './types.ts'
import { isRaw, malformed, type NodeLink, readNode, type UnixfsNode } from './unixfs-node.ts'

export interface ListDirectoryOptions {
  /** Told of each entry that is left out: one bad name must not make a directory unreadable. */
  onRefused?: ((name: string, reason: string) => void) | undefined
}

type Shard = Extract<UnixfsNode, { type: 'shard' }>
type Refuse = (name: string, reason: string) => void

/** Shards asked for ahead of the one that is read, at each level. */
const AHEAD = 16
/** HAMTs use the first 64 bits of murmur3-x64-128, from the highest down. */
const HASH_BITS = 64
/** dag-pb reads names that are not UTF-8 as this character. */
const REPLACEMENT = '\ufffd'

/**
 * The entries of a UnixFS directory, flat or HAMT, as they stream in: a listing can be larger
 * than memory. Entries that no local disk could hold, that occur twice, or whose CID cannot be
 * verified are left out and reported. In a HAMT every name has to lie where its hash puts it, so
 * that a small DAG cannot unfold into an endless one.
 *
 * @throws ModelcacheError `not-a-directory`, `malformed-node`, and what `getBlock` throws
 */
export async function* listDirectory(
  getBlock: GetBlock,
  cid: CID,
  signal?: AbortSignal,
  options: ListDirectoryOptions = {},
): AsyncGenerator<DirectoryEntry> {
  const refuse = options.onRefused ?? (() => {})
  const node = isRaw(cid) ? undefined : await readNode(getBlock, cid, signal)
  if (node?.type === 'directory') {
    yield* listFlat(node.links, node.block, refuse)
  } else if (node?.type === 'shard') {
    const walk = { getBlock, signal, refuse, fanout: node.fanout, visited: new Set([`${cid}`]) }
    yield* listShard(walk, cid, node, { depth: 0, prefix: 0n })
  } else {
    throw new ModelcacheError(`list ${cid}: it is not a directory`, {
      code: 'not-a-directory',
      errno: 'ENOTDIR',
    })
  }
}

function* listFlat(links: NodeLink[], block: Uint8Array, refuse: Refuse) {
  const seen = new Set<string>()
  const exact = exactNames(links, block)
  for (const link of links) {
    const reason = seen.has(link.name) ? 'the name occurs twice' : badEntry(link, link.name, exact)
    if (reason === undefined) {
      seen.add(link.name)
      yield { name: link.name, cid: link.cid, tsizeBytes: link.tsizeBytes }
    } else {
      refuse(link.name, reason)
    }
  }
}

interface ShardWalk {
  getBlock: GetBlock
  signal: AbortSignal | undefined
  refuse: Refuse
  fanout: number
  /** A shard that occurs twice would hold the same names in two places. */
  visited: Set<string>
}

/** Where a shard lies: its level, and the bits of the hash that lead to it. */
interface ShardPlace {
  depth: number
  prefix: bigint
}

async function* listShard(
  walk: ShardWalk,
  cid: CID,
  node: Shard,
  place: ShardPlace,
): AsyncGenerator<DirectoryEntry> {
  const bits = Math.log2(walk.fanout)
  const used = bits * (place.depth + 1)
  if (used > HASH_BITS || node.fanout !== walk.fanout) {
    throw malformed(cid, `a shard at level ${place.depth} with fan-out ${node.fanout}`)
  }
  const exact = exactNames(node.links, node.block)
  const children = slots(walk, cid, node, place).map((slot) => ({ ...slot, bits, used }))
  const fetched = mapAhead(children, AHEAD, async ({ link, name, prefix }) => ({
    link,
    name,
    prefix,
    shard: name === '' ? await readShard(walk, link.cid) : undefined,
  }))
  for await (const { link, name, prefix, shard } of fetched) {
    if (shard !== undefined) {
      yield* listShard(walk, link.cid, shard, { depth: place.depth + 1, prefix })
      continue
    }
    const reason =
      badEntry(link, name, exact) ??
      (hashOf(name) >> BigInt(HASH_BITS - used) === prefix ? undefined : 'it is in a wrong shard')
    if (reason === undefined) {
      yield { name, cid: link.cid, tsizeBytes: link.tsizeBytes }
    } else {
      walk.refuse(name, reason)
    }
  }
}

/** The links of a shard with the bits that lead to them; a link with no name is a shard. */
function slots(walk: ShardWalk, cid: CID, node: Shard, place: ShardPlace) {
  const digits = (walk.fanout - 1).toString(16).length
  const bits = BigInt(Math.log2(walk.fanout))
  const taken = new Set<number>()
  return node.links.map((link) => {
    const label = link.name.slice(0, digits)
    const index = /^[0-9A-F]+$/.test(label) ? Number.parseInt(label, 16) : Number.NaN
    if (label.length !== digits || !(index < walk.fanout) || taken.has(index)) {
      throw malformed(cid, `a link with the label ${JSON.stringify(label)}`)
    }
    taken.add(index)
    const name = link.name.slice(digits)
    return { link, name, prefix: (place.prefix << bits) | BigInt(index) }
  })
}

async function readShard(walk: ShardWalk, cid: CID): Promise<Shard> {
  const key = cid.toString()
  if (walk.visited.has(key)) {
    throw malformed(cid, 'the shard occurs twice')
  }
  walk.visited.add(key)
  const node = await readNode(walk.getBlock, cid, walk.signal)
  if (node.type !== 'shard') {
    throw malformed(cid, `a ${node.type} where a shard should be`)
  }
  return node
}

function hashOf(name: string): bigint {
  const hash = murmur3128.encode(Buffer.from(name))
  if (!(hash instanceof Uint8Array)) {
    throw new TypeError('murmur3 is no longer synchronous')
  }
  return new DataView(hash.buffer, hash.byteOffset, 8).getBigUint64(0)
}

function badEntry(link: NodeLink, name: string, exact: boolean): string | undefined {
  const reason = badName(name)
  if (reason !== undefined) {
    return reason
  }
  if (!exact && name.includes(REPLACEMENT)) {
    return 'it is not UTF-8'
  }
  if (!isRaw(link.cid) && link.cid.code !== dagPb.code) {
    return `its codec 0x${link.cid.code.toString(16)} is not UnixFS`
  }
  try {
    verifiableHash(link.cid)
    return undefined
  } catch (error) {
    return error instanceof ModelcacheError ? error.message : 'its CID is not accepted'
  }
}

/** True when the decoded names are the names of the block: encoding them again gives the block. */
function exactNames(links: NodeLink[], block: Uint8Array): boolean {
  if (!links.some((link) => link.name.includes(REPLACEMENT))) {
    return true
  }
  try {
    return Buffer.compare(dagPb.encode(dagPb.decode(block)), block) === 0
  } catch (error) {
    if (error instanceof TypeError) {
      // The order of the links is not that of the format: it cannot be encoded again.
      return false
    }
    throw error
  }
}
