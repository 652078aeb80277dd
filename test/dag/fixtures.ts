import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { sha256Of } from '../../src/blocks/index.ts'
import type { GetBlock, PutNode } from '../../src/dag/index.ts'

/** Blocks in memory, with a count of what was read. */
export interface MemoryBlocks {
  blocks: Map<string, Uint8Array>
  reads: CID[]
  getBlock: GetBlock
  putNode: PutNode
}

export function memoryBlocks(): MemoryBlocks {
  const blocks = new Map<string, Uint8Array>()
  const reads: CID[] = []
  return {
    blocks,
    reads,
    async getBlock(cid) {
      reads.push(cid)
      const bytes = blocks.get(cid.toString())
      if (bytes === undefined) {
        throw new Error(`no block ${cid}`)
      }
      return bytes
    },
    async putNode(cid, bytes) {
      blocks.set(cid.toString(), bytes)
    },
  }
}

export function cidOf(bytes: Uint8Array, code: number = dagPb.code): CID {
  return CID.createV1(code, Digest.create(0x12, sha256Of(bytes)))
}

export function rawCid(text: string): CID {
  return cidOf(Buffer.from(text), raw.code)
}

export function identityCid(text: string): CID {
  return CID.createV1(raw.code, Digest.create(0x00, new Uint8Array(Buffer.from(text))))
}

export interface Link {
  name?: string
  cid: CID
  tsizeBytes?: number
}

/** A hand-made node, as anybody may send one; stored, and its CID. */
export async function putUnixfs(
  store: MemoryBlocks,
  unixfs: UnixFS | Uint8Array,
  links: Link[] = [],
): Promise<CID> {
  const bytes = dagPb.encode({
    Data: unixfs instanceof UnixFS ? unixfs.marshal() : unixfs,
    Links: links.map(({ name = '', cid, tsizeBytes = 0 }) => ({
      Name: name,
      Hash: cid,
      Tsize: tsizeBytes,
    })),
  })
  await store.putNode(cidOf(bytes), bytes)
  return cidOf(bytes)
}

/** Bytes that differ from leaf to leaf, the same each time. */
export function patternBytes(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed
  for (let at = 0; at < length; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

export async function collect<T>(items: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) {
    found.push(item)
  }
  return found
}
