import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { type ImporterOptions, importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { sha256 } from 'multiformats/hashes/sha2'
import { ModelcacheError } from '../base/index.ts'
import { sha256Of } from '../blocks/index.ts'
import { checkName } from '../tree/index.ts'
import { IMPORT_PROFILE } from './import-file.ts'
import type { DirectoryEntry, PutNode } from './types.ts'
import { checkTarget } from './unixfs-node.ts'

/** A directory that was built. */
export interface BuiltDirectory {
  cid: CID
  /** Its blocks and those of all its entries, as Kubo counts: not less where blocks are shared. */
  tsizeBytes: number
}

/** The node of a symbolic link, as Kubo makes it; the caller stores it. */
export function symlinkNode(target: string): { cid: CID; bytes: Uint8Array; tsizeBytes: number } {
  checkTarget(target)
  const data = new UnixFS({ type: 'symlink', data: Buffer.from(target) }).marshal()
  const bytes = dagPb.encode(dagPb.prepare({ Data: data }))
  const cid = CID.createV1(dagPb.code, Digest.create(sha256.code, sha256Of(bytes)))
  return { cid, bytes, tsizeBytes: bytes.length }
}

/**
 * Builds a directory from the CIDs of its entries in one pass: flat, or a HAMT from 256 KiB of
 * block on. The order of the entries does not matter. Their blocks are not touched.
 *
 * @throws ModelcacheError `bad-name`; EEXIST for a name that occurs twice
 */
export async function buildDirectory(
  entries: Iterable<DirectoryEntry>,
  putNode: PutNode,
): Promise<BuiltDirectory> {
  const seen = new Set<string>()
  const options: ImporterOptions = {
    profile: IMPORT_PROFILE,
    wrapWithDirectory: true,
    async *dagBuilder() {
      for (const { name, cid, tsizeBytes } of entries) {
        checkNew(seen, name)
        yield async () => ({ path: name, cid, size: BigInt(tsizeBytes) })
      }
    },
  }
  const store = {
    async put(cid: CID, input: unknown) {
      if (!(input instanceof Uint8Array)) {
        throw new TypeError('the importer gave a block that is no array of bytes')
      }
      await putNode(cid, input)
      return cid
    },
  }
  let built: BuiltDirectory | undefined
  // Sub-shards come first and the directory itself last; entries pass through as they are.
  for await (const result of importer([], store, options)) {
    built = { cid: result.cid, tsizeBytes: Number(result.size) }
  }
  if (built === undefined) {
    throw new ModelcacheError('build directory: the importer made none', { code: 'importer' })
  }
  return built
}

function checkNew(seen: Set<string>, name: string): void {
  checkName(name)
  if (seen.has(name)) {
    throw new ModelcacheError(`build directory: ${JSON.stringify(name)} occurs twice`, {
      code: 'duplicate-name',
      errno: 'EEXIST',
    })
  }
  seen.add(name)
}
