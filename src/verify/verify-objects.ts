import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import {
  dropLease,
  futimensNs,
  isErrno,
  ModelcacheError,
  messageOf,
  takeWriteLease,
} from '../base/index.ts'
import { type FileLeaf, importFile, type PutNode } from '../dag/index.ts'
import {
  type FileRow,
  inodeIdOf,
  type ObjectRow,
  type Stamp,
  sameInode,
  sameStamp,
  stampOf,
} from '../tree/index.ts'
import type { Findings } from './findings.ts'
import { fetchLeaf, rethrowIfEnded, rottenLeaves } from './heal-leaves.ts'
import { walkTree } from './tree-walk.ts'
import type { VerifyParts } from './verify-parts.ts'

/** More bad leaves of one file than this are fetched, and held until they are written. */
const MAX_HELD_BYTES = 64 * 1024 * 1024

/**
 * Hashes every settled file again: its bytes against its CID, its inner nodes, its places in the
 * leaf index. What is being written meanwhile is not settled, and is passed over.
 */
export async function verifyObjects(
  parts: VerifyParts,
  findings: Findings,
  signal?: AbortSignal,
): Promise<void> {
  for await (const object of parts.database.objects.entries()) {
    signal?.throwIfAborted()
    await parts.settler.exclusive(object.id, () => verifyObject(object, parts, findings, signal))
  }
}

async function verifyObject(
  object: ObjectRow,
  parts: VerifyParts,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { database, paths } = parts
  let rotten: FileLeaf[] | undefined
  let settled: FileRow | undefined
  const handle = await openIfThere(join(paths.objects, object.oid.toString()), constants.O_RDONLY)
  try {
    const stats = await handle?.stat({ bigint: true })
    if (handle === undefined || stats === undefined || !sameInode(inodeIdOf(stats), object.id)) {
      await forgetLost(object, parts, findings)
      return
    }
    const row = await database.files.get(object.id)
    if (row === undefined || !isSettled(row, stats)) {
      return
    }
    findings.counts.files += 1
    findings.counts.bytes += row.stamp.sizeBytes
    rotten = await verifyContent(object, row, handle, parts, findings, signal)
    settled = row
  } finally {
    await handle?.close()
  }
  // Only now: nobody else may have it open, and neither may this.
  if (rotten !== undefined && settled !== undefined) {
    await healOrTell(object, settled, rotten, parts, findings, signal)
  }
}

/** A link that somebody took away: the file is hashed again when it is settled. */
async function forgetLost(object: ObjectRow, parts: VerifyParts, findings: Findings) {
  const { database } = parts
  // It may have been dropped since the table was read.
  if ((await database.objects.get(object.oid)) === undefined) {
    return
  }
  const row = await database.files.get(object.id)
  if (row?.oid === object.oid) {
    await database.files.delete(object.id)
  }
  await database.leaves.drop(object.oid)
  await database.objects.delete(object.oid)
  findings.add({
    kind: 'lost-object',
    path: `objects/${object.oid}`,
    cid: object.cid.toString(),
    what: 'the link is gone or leads to another file; its row was removed',
    healed: true,
  })
}

/** @returns the leaves that are not what they must be; undefined where all is well. */
async function verifyContent(
  object: ObjectRow,
  row: FileRow,
  handle: FileHandle,
  parts: VerifyParts,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<FileLeaf[] | undefined> {
  const { database, nodes } = parts
  // Nodes that are lost are made again on the way.
  const putNode: PutNode = async (cid, bytes) => {
    await nodes.put(cid, bytes)
  }
  const hold = nodes.hold()
  try {
    const imported = await importFile(handle, row.stamp.sizeBytes, { putNode, signal })
    await nodes.flush()
    if (!(await isStill(row.stamp, handle))) {
      return undefined
    }
    if (!imported.cid.equals(row.cid)) {
      return await allRottenLeaves(row, handle, parts, signal)
    }
    if (!(await hasPlaces(object.oid, imported.leaves, parts))) {
      await database.leaves.put(object.oid, imported.leaves)
      const what = 'the index did not lead to all of its leaves; it does again'
      const path = `objects/${object.oid}`
      findings.add({ kind: 'lost-leaves', path, cid: row.cid.toString(), what, healed: true })
    }
    return undefined
  } catch (error) {
    rethrowIfEnded(error, signal)
    if (!(error instanceof ModelcacheError && error.code === 'changed')) {
      throw error
    }
    // Shorter than it was: not settled any more.
    return undefined
  } finally {
    hold.end()
  }
}

/** None where its nodes cannot be had: then it is not known which. */
async function allRottenLeaves(
  row: FileRow,
  handle: FileHandle,
  parts: VerifyParts,
  signal: AbortSignal | undefined,
): Promise<FileLeaf[]> {
  const rotten: FileLeaf[] = []
  try {
    for await (const leaf of rottenLeaves(handle, row.cid, row.stamp.sizeBytes, parts, signal)) {
      rotten.push(leaf)
    }
    return rotten
  } catch (error) {
    rethrowIfEnded(error, signal)
    parts.logger.warn('the nodes of a damaged file cannot be had', {
      cid: row.cid.toString(),
      reason: messageOf(error),
    })
    return []
  }
}

async function hasPlaces(
  oid: bigint,
  leaves: Awaited<ReturnType<typeof importFile>>['leaves'],
  { database }: VerifyParts,
): Promise<boolean> {
  const known = new Set<string>()
  for await (const { offset, digest } of database.leaves.of(oid)) {
    known.add(`${offset} ${Buffer.from(digest).toString('latin1')}`)
  }
  return leaves.every(({ offset, digest }) =>
    known.has(`${offset} ${Buffer.from(digest).toString('latin1')}`),
  )
}

async function healOrTell(
  object: ObjectRow,
  row: FileRow,
  rotten: readonly FileLeaf[],
  parts: VerifyParts,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = await pathOf(object, parts, signal)
  const found = { kind: 'rotten-file' as const, path, cid: row.cid.toString() }
  const [first] = rotten
  const where = first === undefined ? '' : `, first at byte ${first.offset}`
  try {
    if (first === undefined) {
      throw new ModelcacheError('its nodes cannot be had', { code: 'unavailable' })
    }
    await writeUnderLease(object, row, await fetchLeaves(rotten, row, parts, signal), parts)
    const what = `${rotten.length} of its leaves had other bytes under an unchanged stamp${where}; written anew`
    findings.add({ ...found, what, healed: true })
  } catch (error) {
    rethrowIfEnded(error, signal)
    const what = `its bytes are not those of its CID under an unchanged stamp${where}; not healed: ${messageOf(error)}`
    findings.add({ ...found, what, healed: false })
  }
}

async function fetchLeaves(
  rotten: readonly FileLeaf[],
  row: FileRow,
  parts: VerifyParts,
  signal: AbortSignal | undefined,
): Promise<{ offset: number; bytes: Uint8Array }[]> {
  const good: { offset: number; bytes: Uint8Array }[] = []
  let held = 0
  for (const leaf of rotten) {
    held += leaf.length
    if (held > MAX_HELD_BYTES) {
      throw new ModelcacheError('too much of it is damaged; remove it, and download it again', {
        code: 'too-rotten',
      })
    }
    good.push({ offset: leaf.offset, bytes: await fetchLeaf(row.cid, leaf, parts, signal) })
  }
  return good
}

/**
 * Writes into a file that nobody has open: a write lease shuts everybody out for the moment, and
 * the stamp says that it is still what was verified. Times stay as they are.
 */
async function writeUnderLease(
  object: ObjectRow,
  row: FileRow,
  good: readonly { offset: number; bytes: Uint8Array }[],
  { database, engine, paths }: VerifyParts,
): Promise<void> {
  const place = join(paths.objects, object.oid.toString())
  const handle = await open(place, constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    takeLease(handle)
    if (!(await isStill(row.stamp, handle))) {
      throw new ModelcacheError('it changed meanwhile', { code: 'changed' })
    }
    for (const { offset, bytes } of good) {
      await handle.write(bytes, 0, bytes.length, offset)
    }
    await handle.sync()
    const { atimeNs } = await handle.stat({ bigint: true })
    futimensNs(handle.fd, row.stamp.mtimeNs, atimeNs)
    const next = stampOf(await handle.stat({ bigint: true }))
    await database.files.renewStamp(object.id, row.stamp, next)
    await database.sync()
  } finally {
    dropLease(handle.fd)
    await handle.close()
  }
  engine.notifyInode(object.id)
}

function takeLease(handle: FileHandle): void {
  try {
    takeWriteLease(handle.fd)
  } catch (cause) {
    if (isErrno(cause, 'EAGAIN')) {
      throw new ModelcacheError('a program has it open; verify again when it has ended', {
        code: 'busy',
        cause,
      })
    }
    throw cause
  }
}

/** A file without a name has moved its ctime when it lost the last one. */
function isSettled(row: FileRow, stats: BigIntStats): boolean {
  const now = stampOf(stats)
  const nameless = stats.nlink === 1n
  return sameStamp(row.stamp, nameless ? { ...now, ctimeNs: row.stamp.ctimeNs } : now)
}

async function isStill(stamp: Stamp, handle: FileHandle): Promise<boolean> {
  const stats = await handle.stat({ bigint: true })
  const now = stampOf(stats)
  return sameStamp(stamp, stats.nlink === 1n ? { ...now, ctimeNs: stamp.ctimeNs } : now)
}

/** Where a person finds the file. */
async function pathOf(
  { id, oid }: ObjectRow,
  { paths }: VerifyParts,
  signal: AbortSignal | undefined,
): Promise<string> {
  for await (const { path, stats } of walkTree(paths.tree, signal)) {
    if (sameInode(inodeIdOf(stats), id)) {
      return path
    }
  }
  return `objects/${oid}, of an older root`
}

async function openIfThere(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}
