import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { isAbort, ModelcacheError, messageOf } from '../base/index.ts'
import { identityBytes } from '../blocks/index.ts'
import { type GetBlock, linksOf } from '../dag/index.ts'
import type { LoggedCommit } from '../writeback/index.ts'
import { treeDifferences } from './tree-difference.ts'

export interface RootBlocksParts {
  /** Verifies what it gives; from peers, too, where the mount has some. */
  getBlock: GetBlock
  /** The content of a file that must not leave this machine. */
  isSecret(file: CID): Promise<boolean>
}

/** A block and its CID. */
export interface Block {
  cid: CID
  bytes: Uint8Array
}

/** A node that is still to be visited. */
interface Visit {
  cid: CID
  /** The file that it is a part of; undefined of directories, and of files themselves. */
  file: CID | undefined
}

/**
 * Every block of a root, each once, depth first: the commit, the directories, the files, the meta
 * blocks. Always in the same order.
 *
 * @throws ModelcacheError `incomplete-root`, exit code 4, naming the path whose bytes cannot be
 *   had; `secret`, exit code 1, for a file that became a secret after it was in the root
 */
export async function* rootBlocks(
  root: LoggedCommit,
  parts: RootBlocksParts,
  signal?: AbortSignal,
): AsyncGenerator<Block> {
  const seen = new Set<string>()
  const pending: Visit[] = [{ cid: root.root, file: undefined }]
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    signal?.throwIfAborted()
    const { cid, file } = visit
    const key = Buffer.from(cid.bytes).toString('latin1')
    // The block of an identity CID is in the CID.
    if (!seen.has(key) && identityBytes(cid) === undefined) {
      seen.add(key)
      const bytes = await blockOf(root, visit, parts, signal)
      const { kind, links } = linksOf(cid, bytes)
      const isFile = file === undefined && (cid.code === raw.code || kind === 'file')
      if (isFile && (await parts.isSecret(cid))) {
        throw await secretError(root, cid, parts)
      }
      yield { cid, bytes }
      const inner = cid.code === dagPb.code && kind === 'file' ? (file ?? cid) : undefined
      pending.push(...links.toReversed().map((link) => ({ cid: link, file: inner })))
    }
  }
}

async function blockOf(
  root: LoggedCommit,
  { cid, file }: Visit,
  parts: RootBlocksParts,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  try {
    return await parts.getBlock(cid, signal)
  } catch (cause) {
    if (isAbort(cause) || signal?.aborted) {
      throw cause
    }
    const path = (await pathOf(root, file ?? cid, parts.getBlock)) ?? `block ${cid}`
    throw new ModelcacheError(
      `root ${root.root}: ${path} is not complete on this machine: ${messageOf(cause)}; read it from ` +
        'a mount whose --peer has it, or take a root that `modelcache log` calls complete',
      { code: 'incomplete-root', exitCode: 4, cause },
    )
  }
}

async function secretError(root: LoggedCommit, file: CID, parts: RootBlocksParts) {
  const path = await pathOf(root, file, parts.getBlock)
  return new ModelcacheError(
    `root ${root.root}: ${path ?? file} became a secret after it was in this root; it stays here: ` +
      'commit, and take the new root',
    { code: 'secret', exitCode: 1 },
  )
}

/** The first path of a file in a root; undefined for a node above it. */
async function pathOf(root: LoggedCommit, file: CID, getBlock: GetBlock) {
  try {
    for await (const { path, before } of treeDifferences(getBlock, root, undefined)) {
      if (before?.type === 'f' && before.cid.equals(file)) {
        return path
      }
    }
  } catch (error) {
    // The node that is missing is one of a directory.
    if (isAbort(error)) {
      throw error
    }
  }
  return undefined
}
