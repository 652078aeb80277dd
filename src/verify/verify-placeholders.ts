import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { isErrno, messageOf } from '../base/index.ts'
import { fileLeaves } from '../dag/index.ts'
import {
  EXTENT_BYTES,
  ExtentMap,
  type InodeId,
  inodeIdOf,
  type PlaceholderRecord,
  readRecord,
} from '../tree/index.ts'
import type { Findings } from './findings.ts'
import { isSound, rethrowIfEnded } from './heal-leaves.ts'
import { type TreeName, walkTree } from './tree-walk.ts'
import type { VerifyParts } from './verify-parts.ts'

/** What is remote: the CIDs of files and directories whose content is not all here. */
export type RemoteContent = ReadonlySet<string>

/**
 * Looks at every placeholder: its record, and the bytes that its extent map calls present. Where
 * those are not the file's own, all of it is fetched again when it is read.
 */
export async function verifyPlaceholders(
  parts: VerifyParts,
  findings: Findings,
  signal?: AbortSignal,
): Promise<RemoteContent> {
  const remote = new Set<string>()
  for await (const name of walkTree(parts.paths.tree, signal)) {
    const handle = await openIfAllowed(name)
    try {
      const record = handle && recordOf(handle, name, findings)
      if (handle !== undefined && record !== undefined) {
        remote.add(record.cid.toString())
        if (record.metaCid !== undefined) {
          remote.add(record.metaCid.toString())
        }
        if (record.kind === 'file') {
          findings.counts.placeholders += 1
          await verifyExtents(name, handle, record, parts, findings, signal)
        }
      }
    } finally {
      await handle?.close()
    }
  }
  return remote
}

function recordOf(
  handle: FileHandle,
  { path }: TreeName,
  findings: Findings,
): PlaceholderRecord | undefined {
  try {
    return readRecord(handle.fd)
  } catch (error) {
    const what = `it cannot be read what it stands for: ${messageOf(error)}; remove it, or restore it`
    findings.add({ kind: 'damaged-record', path: path || '.', what, healed: false })
    return undefined
  }
}

async function verifyExtents(
  { path, stats }: TreeName,
  handle: FileHandle,
  record: PlaceholderRecord,
  parts: VerifyParts,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { hydrator, paths, sources } = parts
  const id: InodeId = inodeIdOf(stats)
  const map = await ExtentMap.open(paths.extents, id, record.sizeBytes)
  if (map.present === 0) {
    return
  }
  const range = { start: 0, end: record.sizeBytes }
  const options = { sizeBytes: record.sizeBytes, signal }
  try {
    for await (const leaf of fileLeaves(sources.getBlock, record.cid, range, options)) {
      if (isPresent(map, leaf.offset, leaf.length)) {
        findings.counts.bytes += leaf.length
        if (!(await isSound(handle, leaf)) && isRemote(handle)) {
          await hydrator.detach(id)
          findings.add({
            kind: 'rotten-placeholder',
            path,
            cid: record.cid.toString(),
            what: `its bytes at ${leaf.offset} were called present and are others; it is fetched again`,
            healed: true,
          })
          return
        }
      }
    }
  } catch (error) {
    rethrowIfEnded(error, signal)
    const what = `its nodes cannot be had: ${messageOf(error)}`
    findings.add({ kind: 'missing-node', path, cid: `${record.cid}`, what, healed: false })
  }
}

/** All extents of a leaf: one that is not aligned with them may be here in part. */
function isPresent(map: ExtentMap, offset: number, length: number): boolean {
  const last = Math.floor((offset + length - 1) / EXTENT_BYTES)
  for (let index = Math.floor(offset / EXTENT_BYTES); index <= last; index += 1) {
    if (!map.has(index)) {
      return false
    }
  }
  return length > 0
}

/** It may have become a complete file, and be written to, since it was looked at. */
function isRemote(handle: FileHandle): boolean {
  return readRecord(handle.fd) !== undefined
}

/** A placeholder can always be read by its owner, so what cannot is none. */
async function openIfAllowed({ place }: TreeName): Promise<FileHandle | undefined> {
  try {
    return await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (isErrno(error, 'EACCES', 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) {
      return undefined
    }
    throw error
  }
}
