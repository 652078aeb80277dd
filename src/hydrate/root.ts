import { CID } from 'multiformats/cid'
import {
  type Clock,
  codeOf,
  isAbort,
  ModelcacheError,
  messageOf,
  systemClock,
} from '../base/index.ts'
import { decodeCommit, type GetBlock, statNode } from '../dag/index.ts'
import { DAG_CBOR_CODE } from '../ipfs/index.ts'

/** What a mount is opened from. */
export interface OpenedRoot {
  /** UnixFS directory. */
  tree: CID
  /** Modes and times beside the tree; a bare UnixFS directory has none. */
  meta?: CID
  rootMode: number
  rootMtimeNs: bigint
  /** Lamport clock of the commit; 0 for bare UnixFS. */
  sequence: number
  /** The commit, where the root is one. */
  commit?: CID
}

const BARE_ROOT_MODE = 0o755
const NS_PER_MS = 1_000_000n

/** Reads a CID that a person gave; `bad-cid`, exit code 2, names what it was. */
export function parseRoot(text: string): CID {
  try {
    return CID.parse(text)
  } catch (cause) {
    throw new ModelcacheError(
      `root ${text}: it is no CID; take what \`modelcache commit\` prints`,
      {
        code: 'bad-cid',
        exitCode: 2,
        cause,
      },
    )
  }
}

/**
 * Finds out what a root is: a commit of modelcache, or a directory of bare UnixFS (0644 and 0755,
 * and the time of now).
 *
 * @throws `root-not-found` where no source has it, `not-a-root` where it is something else
 */
export async function openRoot(
  cid: CID,
  getBlock: GetBlock,
  options: { signal?: AbortSignal; clock?: Pick<Clock, 'now'> } = {},
): Promise<OpenedRoot> {
  const bytes = await fetchRoot(cid, getBlock, options.signal)
  if (cid.code === DAG_CBOR_CODE) {
    const { tree, meta, rootMode, rootMtimeNs, sequence } = decoded(cid, () => decodeCommit(bytes))
    return { tree, meta, rootMode, rootMtimeNs, sequence, commit: cid }
  }
  const { type } = await decodedLater(cid, () => statNode(async () => bytes, cid))
  if (type !== 'd') {
    throw notARoot(cid, `it is a ${type === 'f' ? 'file' : 'symbolic link'}, not a directory`)
  }
  const nowMs = (options.clock ?? systemClock).now().getTime()
  const rootMtimeNs = BigInt(nowMs) * NS_PER_MS
  return { tree: cid, rootMode: BARE_ROOT_MODE, rootMtimeNs, sequence: 0 }
}

async function fetchRoot(cid: CID, getBlock: GetBlock, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return await getBlock(cid, signal)
  } catch (cause) {
    if (isAbort(cause) || signal?.aborted) {
      throw cause
    }
    if (codeOf(cause) === 'unsupported-cid') {
      throw notARoot(cid, messageOf(cause), cause)
    }
    throw rootNotFound(cid, messageOf(cause), cause)
  }
}

/** Names what was tried, and where else it could come from. */
export function rootNotFound(cid: CID, reason: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(
    `root ${cid}: it cannot be found: ${reason}; see that \`modelcache share\` runs where it was ` +
      'made, and give the address that it prints with --peer',
    { code: 'root-not-found', errno: 'EIO', exitCode: 1, cause },
  )
}

function decoded<T>(cid: CID, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw notARoot(cid, messageOf(cause), cause)
  }
}

async function decodedLater<T>(cid: CID, decode: () => Promise<T>): Promise<T> {
  try {
    return await decode()
  } catch (cause) {
    throw notARoot(cid, messageOf(cause), cause)
  }
}

function notARoot(cid: CID, reason: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(
    `root ${cid}: it is no commit and no UnixFS directory: ${reason}; ` +
      'give the CID that `modelcache commit` prints',
    { code: 'not-a-root', errno: 'EINVAL', exitCode: 1, cause },
  )
}
