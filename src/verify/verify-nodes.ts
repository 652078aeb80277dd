import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { decode as decodeMultihash } from 'multiformats/hashes/digest'
import { isErrno } from '../base/index.ts'
import { matchesCid } from '../blocks/index.ts'
import type { Findings } from './findings.ts'
import type { VerifyParts } from './verify-parts.ts'

/**
 * Hashes every block of the node store. One that is not what its name says is removed, so that it
 * is missing where it is needed, and can be fetched or made again.
 */
export async function verifyNodes(
  { nodes }: Pick<VerifyParts, 'nodes'>,
  findings: Findings,
  signal?: AbortSignal,
): Promise<void> {
  for await (const { multihash, path } of nodes.files()) {
    signal?.throwIfAborted()
    const bytes = await readIfThere(path)
    if (bytes !== undefined) {
      findings.counts.nodes += 1
      findings.counts.bytes += bytes.length
      // The name has the hash only, and the codec does not change what is hashed.
      const cid = CID.createV1(raw.code, decodeMultihash(multihash))
      if (!matchesCid(cid, bytes)) {
        await nodes.delete(cid)
        const what = 'the block has another hash than its name says; it was removed'
        findings.add({ kind: 'damaged-node', path: `nodes/${basename(path)}`, what, healed: true })
      }
    }
  }
}

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(await readFile(path))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}
