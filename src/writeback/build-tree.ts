import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import {
  buildDirectory,
  buildMeta,
  type DirectoryEntry,
  type MetaEntry,
  type PutNode,
  symlinkNode,
} from '../dag/index.ts'
import type { CarriedEntry, Database, DirectoryRow, InodeId } from '../tree/index.ts'
import { childPath, type PlannedDirectory, type PlannedEntry, type TreePlan } from './plan.ts'
import type { TsizeFinder } from './tsize-finder.ts'

export interface BuildParts {
  database: Pick<Database, 'directories'>
  putNode: PutNode
  tsizes: TsizeFinder
}

/** What a directory of the new root is, to be written once the root is in the log. */
export interface BuiltTree {
  root: DirectoryRow
  rows: [InodeId, DirectoryRow][]
}

/** Code of the error for a directory that is neither listed nor known: everything has to be. */
export const UNKNOWN_DIRECTORY = 'unknown-directory'

/**
 * Builds all planned directories from the bottom to the top, each once.
 *
 * @throws ModelcacheError of code `unknown-directory` where a child has no row and no listing
 */
export async function buildTree(plan: TreePlan, parts: BuildParts): Promise<BuiltTree> {
  const built = new Map<string, DirectoryRow>()
  const rows: [InodeId, DirectoryRow][] = []
  for (const directory of plan.directories.toReversed()) {
    const row = await buildOne(directory, built, parts)
    directory.previous.release()
    built.set(directory.path, row)
    rows.push([directory.listing.id, row])
  }
  const root = built.get('')
  if (root === undefined) {
    throw new ModelcacheError('commit: the listing has no root', { code: UNKNOWN_DIRECTORY })
  }
  return { root, rows }
}

async function buildOne(
  directory: PlannedDirectory,
  built: ReadonlyMap<string, DirectoryRow>,
  parts: BuildParts,
): Promise<DirectoryRow> {
  const entries: DirectoryEntry[] = []
  const metas: MetaEntry[] = []
  const carried: CarriedEntry[] = []
  for (const [name, planned] of directory.entries) {
    const node = await nodeOf(directory, name, planned, built, parts)
    if (node !== undefined) {
      entries.push({ name, cid: node.cid, tsizeBytes: node.tsizeBytes })
      metas.push(node.meta)
      if (planned.kind === 'carried') {
        carried.push({ name, cid: node.cid })
      }
    }
  }
  const { cid, tsizeBytes } = await buildDirectory(entries, parts.putNode)
  const metaCid = await buildMeta(metas, parts.putNode)
  const { mode, mtimeNs, explicit } = directory.listing
  const row: DirectoryRow = { cid, metaCid, tsizeBytes, mode, mtimeNs, carried }
  const { row: previous } = directory.previous
  // Lock files and partial downloads move a directory's time; they must not make a new root.
  if (previous !== undefined && !explicit && sameContent(previous, row)) {
    row.mtimeNs = previous.mtimeNs
  }
  return row
}

function sameContent(a: DirectoryRow, b: DirectoryRow): boolean {
  return a.cid.equals(b.cid) && sameCid(a.metaCid, b.metaCid) && a.mode === b.mode
}

/** True for two equal CIDs, and for none on both sides. */
export function sameCid(a: CID | undefined, b: CID | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b)
}

interface Node {
  cid: CID
  tsizeBytes: number
  meta: MetaEntry
}

async function nodeOf(
  directory: PlannedDirectory,
  name: string,
  planned: PlannedEntry,
  built: ReadonlyMap<string, DirectoryRow>,
  parts: BuildParts,
): Promise<Node | undefined> {
  switch (planned.kind) {
    case 'absent':
      return undefined
    case 'carried':
      return planned.previous
    case 'link':
      return linkNode(name, planned, parts)
    case 'file': {
      const { cid, mode, mtimeNs, sizeBytes } = planned
      const tsizeBytes = planned.tsizeBytes ?? (await parts.tsizes.find(directory, name, planned))
      return { cid, tsizeBytes, meta: { name, type: 'f', mode, mtimeNs, sizeBytes } }
    }
    case 'directory':
      return directoryNode(directory, name, planned, built, parts)
  }
}

async function linkNode(
  name: string,
  { target, mode, mtimeNs }: Extract<PlannedEntry, { kind: 'link' }>,
  parts: BuildParts,
): Promise<Node> {
  const { cid, bytes, tsizeBytes } = symlinkNode(target)
  await parts.putNode(cid, bytes)
  const sizeBytes = Buffer.byteLength(target)
  return { cid, tsizeBytes, meta: { name, type: 'l', mode, mtimeNs, sizeBytes, target } }
}

async function directoryNode(
  directory: PlannedDirectory,
  name: string,
  planned: Extract<PlannedEntry, { kind: 'directory' }>,
  built: ReadonlyMap<string, DirectoryRow>,
  parts: BuildParts,
): Promise<Node> {
  const { record } = planned
  if (record !== undefined) {
    const { cid, metaCid, mode, mtimeNs } = record
    const tsizeBytes = await parts.tsizes.find(directory, name, record)
    return { cid, tsizeBytes, meta: { name, type: 'd', mode, mtimeNs, sizeBytes: 0, metaCid } }
  }
  const path = childPath(directory.path, name)
  const row = built.get(path) ?? (await parts.database.directories.get(planned.id))
  if (row === undefined) {
    throw new ModelcacheError(`commit ${path}: the directory is neither listed nor known`, {
      code: UNKNOWN_DIRECTORY,
    })
  }
  const { cid, metaCid, tsizeBytes, mode, mtimeNs } = row
  return { cid, tsizeBytes, meta: { name, type: 'd', mode, mtimeNs, sizeBytes: 0, metaCid } }
}
