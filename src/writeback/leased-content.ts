import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import { delay, ModelcacheError, reached } from '../base/index.ts'
import { importFile } from '../dag/index.ts'
import type { Lease } from '../mount/index.ts'
import {
  CREDENTIAL_SCAN_BYTES,
  expectedDigest,
  type FileRow,
  type InodeId,
  inodeIdOf,
  type Leaf,
  looksLikeCredential,
  readRecord,
  type Stamp,
  sameInode,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import { hasDigestFor } from './content-names.ts'
import type { SettlerParts } from './settler-parts.ts'

/**
 * The coarsest clock tick of a file system that we use (ext4 before multigrain timestamps, at
 * 100 Hz, is 10 ms): two changes within it can leave the same ctime.
 */
const CLOCK_GRAIN_MS = 20
const NS_PER_MS = 1_000_000n

/** Content that was hashed between two equal stamps, its nodes durable. */
export interface LeasedContent {
  cid: CID
  tsizeBytes: number
  leaves: Leaf[]
  stamp: Stamp
  sha256?: Uint8Array | undefined
  gitSha1?: Uint8Array | undefined
}

/** Content that has not changed since this row was written. */
export interface KnownContent {
  row: FileRow
  stamp: Stamp
}

/** Content that was read and must stay out of every root. */
export interface RefusedContent {
  stamp: Stamp
  /** Set where the name is the reason. */
  path: string | undefined
  reason: string
}

/**
 * Hashes a file under its lease, and makes file and nodes durable.
 *
 * @param known rows that may describe the content still; one that does saves the hashing
 * @throws ModelcacheError errno ECANCELED when the file changed meanwhile, and whatever reading
 *   it gives; the signal's reason when the lease was broken
 */
export async function hashLeased(
  parts: Pick<SettlerParts, 'nodes' | 'clock'>,
  path: string,
  id: InodeId,
  lease: Lease,
  known: readonly FileRow[],
  signal: AbortSignal,
): Promise<LeasedContent | KnownContent | RefusedContent> {
  const handle = await openLeased(lease, id)
  try {
    await handle.sync()
    reached('settle.synced')
    const stamp = await settledStamp(handle, parts.clock, signal)
    if (!sameStamp(stamp, lease.stamp)) {
      throw changed(path)
    }
    const row = known.find((one) => sameStamp(one.stamp, stamp) && hasDigestFor(path, one))
    if (row !== undefined) {
      return { row, stamp }
    }
    const credential = await credentialIn(handle, stamp.sizeBytes)
    if (credential !== undefined) {
      return { stamp, path: undefined, reason: `it seems to hold a ${credential}` }
    }
    const content = await importContent(parts, path, handle, stamp.sizeBytes, signal)
    reached('settle.hashed')
    if (!sameStamp(stamp, stampOf(await handle.stat({ bigint: true })))) {
      throw changed(path)
    }
    const refusal = brokenPromise(path, content)
    return refusal === undefined ? { ...content, stamp } : { stamp, path, reason: refusal }
  } finally {
    await handle.close()
  }
}

async function importContent(
  parts: Pick<SettlerParts, 'nodes'>,
  path: string,
  handle: FileHandle,
  sizeBytes: number,
  signal: AbortSignal,
) {
  const expected = expectedDigest(path)
  let nodes = 0
  const content = await importFile(handle, sizeBytes, {
    signal,
    putNode: async (cid, bytes) => {
      nodes += 1
      await parts.nodes.put(cid, bytes)
    },
    ...(expected === undefined ? {} : { digests: [expected.algorithm] }),
  })
  if (nodes > 0) {
    await parts.nodes.flush()
  }
  return content
}

/** The descriptor may be another file by now if the lease was broken: look before reading. */
async function openLeased(lease: Lease, id: InodeId): Promise<FileHandle> {
  const handle = await open(lease.path, constants.O_RDONLY)
  try {
    const stats = await handle.stat({ bigint: true })
    const isOurs = stats.isFile() && sameInode(inodeIdOf(stats), id)
    // Holes of a placeholder are not its content, whoever asked for settling it.
    if (isOurs && readRecord(handle.fd) === undefined) {
      return handle
    }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  throw new ModelcacheError('the lease is of another file, or of a placeholder', {
    code: 'ECANCELED',
    errno: 'ECANCELED',
  })
}

/** Waits until a later change would show in the stamp. */
async function settledStamp(
  handle: FileHandle,
  clock: SettlerParts['clock'],
  signal: AbortSignal,
): Promise<Stamp> {
  const stamp = stampOf(await handle.stat({ bigint: true }))
  const ageMs = clock.now().getTime() - Number(stamp.ctimeNs / NS_PER_MS)
  // A ctime of the future is from before a clock was set back: waiting longer proves no more.
  if (ageMs < CLOCK_GRAIN_MS) {
    await delay(Math.min(CLOCK_GRAIN_MS, CLOCK_GRAIN_MS - ageMs), signal, clock)
    return stampOf(await handle.stat({ bigint: true }))
  }
  return stamp
}

async function credentialIn(handle: FileHandle, sizeBytes: number): Promise<string | undefined> {
  if (sizeBytes === 0 || sizeBytes > CREDENTIAL_SCAN_BYTES) {
    return undefined
  }
  const bytes = new Uint8Array(sizeBytes)
  const { bytesRead } = await handle.read(bytes, 0, sizeBytes, 0)
  return looksLikeCredential(bytes.subarray(0, bytesRead))
}

/** Hub blobs are named by their hash: one that is not what it says is damaged. */
function brokenPromise(
  path: string,
  content: Pick<LeasedContent, 'sha256' | 'gitSha1'>,
): string | undefined {
  const expected = expectedDigest(path)
  if (expected === undefined) {
    return undefined
  }
  const digest = expected.algorithm === 'sha256' ? content.sha256 : content.gitSha1
  const hex = digest === undefined ? 'unknown' : Buffer.from(digest).toString('hex')
  return hex === expected.hex
    ? undefined
    : `its ${expected.algorithm} is ${hex}, which is not its name`
}

function changed(path: string): ModelcacheError {
  return new ModelcacheError(`settle ${path}: it changed`, {
    code: 'ECANCELED',
    errno: 'ECANCELED',
  })
}
