import type { CID } from 'multiformats/cid'
import { ModelcacheError, type Range } from '../base/index.ts'
import { fileLeaves, type GetBlock } from '../dag/index.ts'

/**
 * The bytes of a range of a stored file, leaf by leaf. Each leaf is verified by `getBlock` before
 * a byte of it is yielded.
 *
 * @throws `malformed-file` where the leaves leave a gap, and what `getBlock` throws
 */
export async function* fileContent(
  getBlock: GetBlock,
  file: CID,
  range: Range,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let at = range.start
  for await (const leaf of fileLeaves(getBlock, file, range)) {
    signal.throwIfAborted()
    const bytes = leaf.bytes ?? (await getBlock(leaf.cid, signal))
    const from = at - leaf.offset
    if (from < 0 || bytes.length !== leaf.length) {
      throw malformed(file, at)
    }
    const part = bytes.subarray(from, Math.min(range.end - leaf.offset, bytes.length))
    if (part.length > 0) {
      yield part
      at += part.length
    }
  }
  if (at < range.end) {
    throw malformed(file, at)
  }
}

function malformed(file: CID, at: number): ModelcacheError {
  return new ModelcacheError(`${file}: its nodes do not cover offset ${at}`, {
    code: 'malformed-file',
    errno: 'EIO',
  })
}
