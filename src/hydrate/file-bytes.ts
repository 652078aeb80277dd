import type { FileHandle } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import { ModelcacheError, type Range, reached } from '../base/index.ts'
import { type FileLeaf, fileLeaves } from '../dag/index.ts'
import { RAW_CODE } from '../ipfs/index.ts'
import type { Sources } from './sources.ts'

/** Verified bytes and where they belong in the file. */
export interface FileBytes {
  offset: number
  bytes: Uint8Array
}

/** A file by its content; the size spares asking for a raw leaf only to learn it. */
export interface StoredFile {
  cid: CID
  sizeBytes: number
}

/**
 * The bytes of a range of a file, in order and without a gap, clipped to the range: from nodes
 * that hold data themselves, from leaves that we have in other files, and the rest from peers,
 * with one request for each run of leaves.
 *
 * @throws `malformed-file` where the DAG does not cover the range; what the sources throw
 */
export async function* fileBytes(
  sources: Sources,
  file: StoredFile,
  range: Range,
  signal: AbortSignal,
): AsyncGenerator<FileBytes> {
  let at = range.start
  for await (const { offset, bytes } of leafBytes(sources, file, range, signal)) {
    const from = at - offset
    if (from < 0 || from > bytes.length) {
      throw malformed(file.cid, at)
    }
    const part = bytes.subarray(from, Math.min(range.end - offset, bytes.length))
    if (part.length > 0) {
      yield { offset: at, bytes: part }
      at += part.length
    }
  }
  if (at < range.end) {
    throw malformed(file.cid, at)
  }
}

async function* leafBytes(
  sources: Sources,
  { cid: file, sizeBytes }: StoredFile,
  range: Range,
  signal: AbortSignal,
): AsyncGenerator<FileBytes> {
  const getBlock = (cid: CID) => sources.getBlock(cid, signal)
  /** Leaves that follow each other and have to come from peers. */
  let remote: FileLeaf[] = []
  for await (const leaf of fileLeaves(getBlock, file, range, { sizeBytes })) {
    const bytes = leaf.bytes ?? (await sources.getLocal(leaf.cid, signal))
    if (bytes === undefined && leaf.cid.code === RAW_CODE) {
      remote.push(leaf)
      continue
    }
    yield* fetched(sources, file, remote, signal)
    remote = []
    const here = bytes ?? (await sources.getBlock(leaf.cid, signal))
    if (here.length !== leaf.length) {
      throw malformed(file, leaf.offset)
    }
    yield { offset: leaf.offset, bytes: here }
  }
  yield* fetched(sources, file, remote, signal)
}

async function* fetched(
  sources: Sources,
  file: CID,
  leaves: readonly FileLeaf[],
  signal: AbortSignal,
): AsyncGenerator<FileBytes> {
  const first = leaves[0]
  const last = leaves.at(-1)
  if (first !== undefined && last !== undefined) {
    const length = last.offset + last.length - first.offset
    yield* sources.fetchRange(file, first.offset, length, leaves, signal)
  }
}

function malformed(file: CID, at: number): ModelcacheError {
  return new ModelcacheError(`${file}: its nodes do not cover offset ${at}`, {
    code: 'malformed-file',
    errno: 'EIO',
  })
}

/** Writes all of the bytes at the offset; pwrite may write less than it was given. */
export async function writeAll(
  handle: FileHandle,
  bytes: Uint8Array,
  offset: number,
): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done)
    done += bytesWritten
  }
  reached('fill.written')
}
