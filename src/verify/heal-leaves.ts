import type { FileHandle } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import { isAbort, ModelcacheError, withDeadline } from '../base/index.ts'
import { matchesCid } from '../blocks/index.ts'
import { type FileLeaf, fileLeaves } from '../dag/index.ts'
import type { VerifyParts } from './verify-parts.ts'

/** The leaves of a file whose bytes are not what their CIDs say, as it lies on disk. */
export async function* rottenLeaves(
  handle: FileHandle,
  file: CID,
  sizeBytes: number,
  parts: Pick<VerifyParts, 'sources'>,
  signal?: AbortSignal,
): AsyncGenerator<FileLeaf> {
  const range = { start: 0, end: sizeBytes }
  const options = { sizeBytes, signal }
  for await (const leaf of fileLeaves(parts.sources.getBlock, file, range, options)) {
    signal?.throwIfAborted()
    if (!(await isSound(handle, leaf))) {
      yield leaf
    }
  }
}

/** True for a leaf whose bytes on disk are its own. */
export async function isSound(handle: FileHandle, leaf: FileLeaf): Promise<boolean> {
  const bytes = new Uint8Array(leaf.length)
  for (let filled = 0; filled < leaf.length; ) {
    const at = leaf.offset + filled
    const { bytesRead } = await handle.read(bytes, filled, leaf.length - filled, at)
    if (bytesRead === 0) {
      return false
    }
    filled += bytesRead
  }
  return leaf.bytes === undefined
    ? matchesCid(leaf.cid, bytes)
    : Buffer.compare(bytes, leaf.bytes) === 0
}

/**
 * The bytes of a leaf, from another place of this store or from a peer, verified.
 *
 * @throws what the sources throw, or `unavailable`
 */
export async function fetchLeaf(
  file: CID,
  leaf: FileLeaf,
  { clock, fetchDeadlineMs, sources }: VerifyParts,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const own = leaf.bytes ?? (await sources.getLocal(leaf.cid, signal))
  if (own !== undefined) {
    return own
  }
  const patience = withDeadline(signal, fetchDeadlineMs, clock)
  const fetched = sources.fetchRange(file, leaf.offset, leaf.length, [leaf], patience)
  for await (const { offset, bytes } of fetched) {
    if (offset === leaf.offset && bytes.length === leaf.length) {
      return bytes
    }
  }
  throw new ModelcacheError(`no source has leaf ${leaf.cid}`, { code: 'unavailable', errno: 'EIO' })
}

/** Throws an error that ends the whole run; others are a finding. */
export function rethrowIfEnded(error: unknown, signal: AbortSignal | undefined): void {
  if (signal?.aborted && isAbort(error)) {
    throw error
  }
}
