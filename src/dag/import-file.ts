import { createHash, type Hash } from 'node:crypto'
import { read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { type BufferImporter, importFile as importUnixfs } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { sha256 } from 'multiformats/hashes/sha2'
import { ModelcacheError } from '../base/index.ts'
import { sha256Of } from '../blocks/index.ts'
import type { Leaf } from '../tree/index.ts'
import type { PutNode } from './types.ts'

/** IPIP-499: CIDv1, SHA-256, raw leaves, 1 MiB chunks, 1024 links, HAMT from 256 KiB on. */
export const IMPORT_PROFILE = 'unixfs-v1-2025'
/** Every leaf but the last of a file has this size. */
export const LEAF_BYTES = 1024 * 1024

/** Hashes of the whole file that Hugging Face names blobs by. */
export type FileDigest = 'sha256' | 'git-sha1'

export interface ImportFileOptions {
  /** Gets the inner nodes, lowest first; a file of one leaf has none. */
  putNode: PutNode
  signal?: AbortSignal | undefined
  /** Called for each leaf, in order. */
  onLeaf?: ((leaf: Leaf) => void) | undefined
  /** Computed on the same pass. */
  digests?: readonly FileDigest[] | undefined
}

export interface ImportedFile {
  cid: CID
  tsizeBytes: number
  leaves: Leaf[]
  sha256?: Uint8Array | undefined
  gitSha1?: Uint8Array | undefined
}

const readFd = promisify(read)

/**
 * Makes the UnixFS DAG of a file without copying it: leaves are hashed where they lie, only inner
 * nodes are stored. The result is that of `ipfs add` with the same profile. Reads the first
 * `sizeBytes` bytes, 1 MiB at a time, the next one while the last is hashed.
 *
 * @throws ModelcacheError `changed` where the file ends sooner; the reason of the signal
 */
export async function importFile(
  file: number | FileHandle,
  sizeBytes: number,
  options: ImportFileOptions,
): Promise<ImportedFile> {
  const fd = typeof file === 'number' ? file : file.fd
  const whole = wholeFileHashes(options.digests ?? [], sizeBytes)
  const leaves: Leaf[] = []
  const bufferImporter: BufferImporter = async function* (candidate) {
    for await (const bytes of candidate.content) {
      options.signal?.throwIfAborted()
      const leaf = { digest: sha256Of(bytes), offset: offsetAfter(leaves), length: bytes.length }
      leaves.push(leaf)
      options.onLeaf?.(leaf)
      for (const hash of whole.values()) {
        hash.update(bytes)
      }
      // The buffer is read into again before this runs, so the bytes are not passed on.
      const cid = CID.createV1(raw.code, Digest.create(sha256.code, leaf.digest))
      const result = { cid, size: BigInt(leaf.length), block: new Uint8Array() }
      yield async () => result
    }
  }
  const imported = await importUnixfs(
    { content: readLeaves(fd, sizeBytes) },
    {
      async put(cid, bytes) {
        await options.putNode(cid, asBytes(bytes))
        return cid
      },
    },
    // A new object each time: the importer writes into it.
    { profile: IMPORT_PROFILE, bufferImporter, chunker: (source) => source },
  )
  return {
    cid: imported.cid,
    tsizeBytes: Number(imported.size),
    leaves,
    sha256: digestOf(whole.get('sha256')),
    gitSha1: digestOf(whole.get('git-sha1')),
  }
}

/** Chunks of exactly one leaf, in two buffers that take turns; an empty file has one empty leaf. */
async function* readLeaves(fd: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
  const capacity = Math.min(sizeBytes, LEAF_BYTES)
  let current = new Uint8Array(capacity)
  let other = sizeBytes > LEAF_BYTES ? new Uint8Array(capacity) : current
  let next = readLeaf(fd, current, 0, sizeBytes)
  try {
    for (let offset = 0; offset === 0 || offset < sizeBytes; offset += LEAF_BYTES) {
      const bytes = await next
      if (offset + LEAF_BYTES < sizeBytes) {
        next = readLeaf(fd, other, offset + LEAF_BYTES, sizeBytes)
        const filled = current
        current = other
        other = filled
      }
      yield bytes
    }
  } finally {
    // Nobody reads into a buffer, or from a closed descriptor, after the import has ended; a
    // failure of a read that nobody waits for any more is not the import's.
    await Promise.allSettled([next])
  }
}

async function readLeaf(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  sizeBytes: number,
): Promise<Uint8Array> {
  const length = Math.min(buffer.length, sizeBytes - offset)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await readFd(fd, buffer, filled, length - filled, offset + filled)
    if (bytesRead === 0) {
      throw new ModelcacheError(
        `import: the file ends at ${offset + filled} bytes instead of ${sizeBytes}`,
        { code: 'changed', errno: 'EAGAIN' },
      )
    }
    filled += bytesRead
  }
  return buffer.subarray(0, length)
}

function wholeFileHashes(digests: readonly FileDigest[], sizeBytes: number): Map<FileDigest, Hash> {
  const hashes = new Map<FileDigest, Hash>()
  if (digests.includes('sha256')) {
    hashes.set('sha256', createHash('sha256'))
  }
  if (digests.includes('git-sha1')) {
    // A git blob is hashed with its header; what the Hub gives as etag of a file outside LFS.
    hashes.set('git-sha1', createHash('sha1').update(`blob ${sizeBytes}\0`))
  }
  return hashes
}

function digestOf(hash: Hash | undefined): Uint8Array | undefined {
  return hash === undefined ? undefined : new Uint8Array(hash.digest())
}

function offsetAfter(leaves: readonly Leaf[]): number {
  const last = leaves.at(-1)
  return last === undefined ? 0 : last.offset + last.length
}

/** The importer stores whole blocks only; its type allows streams. */
function asBytes(input: unknown): Uint8Array {
  if (input instanceof Uint8Array) {
    return input
  }
  throw new TypeError('the importer gave a block that is no array of bytes')
}
