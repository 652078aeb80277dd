import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import { type ChildEntry, directoryContent } from '../hydrate/index.ts'
import type { LoggedCommit } from '../writeback/index.ts'

/** A name that is not the same in two roots. */
export interface Difference {
  /** Below the root: no leading slash. */
  path: string
  before: ChildEntry | undefined
  after: ChildEntry | undefined
}

/** The tree of a root, as a commit names it. */
export type RootTree = Pick<LoggedCommit, 'tree' | 'meta' | 'rootMtimeNs'>

interface DirectoryAt {
  cid: CID
  metaCid: CID | undefined
  mtimeNs: bigint
}

/** PATH_MAX of Linux: no program can name what lies deeper. */
const MAX_PATH_BYTES = 4096
/** A tree of ours has fewer names; a DAG of a stranger can unfold into any number. */
const MAX_DIFFERENCES = 20_000_000

/**
 * What is not the same in two roots, by path, each directory before what is in it. Directories that
 * are the same are not looked into, so that it costs what changed.
 *
 * @param after - undefined for no tree at all: then it is everything of `before`
 * @param isOpaque - directories that are not looked into: their nodes are elsewhere
 * @throws ModelcacheError `tree-too-large`, and what `getBlock` throws
 */
export async function* treeDifferences(
  getBlock: GetBlock,
  before: RootTree,
  after: RootTree | undefined,
  isOpaque: (directory: CID) => boolean = () => false,
): AsyncGenerator<Difference> {
  let count = 0
  const pending: { path: string; a: DirectoryAt | undefined; b: DirectoryAt | undefined }[] = [
    { path: '', a: rootOf(before), b: after === undefined ? undefined : rootOf(after) },
  ]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { path, a, b } = next
    const old = await namesIn(getBlock, a)
    const fresh = await namesIn(getBlock, b)
    for (const name of new Set([...old.keys(), ...fresh.keys()])) {
      const difference = {
        path: path === '' ? name : `${path}/${name}`,
        before: old.get(name),
        after: fresh.get(name),
      }
      if (!sameEntry(difference.before, difference.after)) {
        count += 1
        if (count > MAX_DIFFERENCES || Buffer.byteLength(difference.path) > MAX_PATH_BYTES) {
          throw tooLarge(difference.path)
        }
        yield difference
        const open = (one: DirectoryAt | undefined) =>
          one === undefined || isOpaque(one.cid) ? undefined : one
        const inner = {
          a: open(directoryOf(difference.before)),
          b: open(directoryOf(difference.after)),
        }
        if (!sameDirectory(inner.a, inner.b)) {
          pending.push({ path: difference.path, ...inner })
        }
      }
    }
  }
}

function rootOf({ tree, meta, rootMtimeNs }: RootTree): DirectoryAt {
  return { cid: tree, metaCid: meta, mtimeNs: rootMtimeNs }
}

function directoryOf(entry: ChildEntry | undefined): DirectoryAt | undefined {
  return entry?.type === 'd'
    ? { cid: entry.cid, metaCid: entry.metaCid, mtimeNs: entry.mtimeNs }
    : undefined
}

async function namesIn(
  getBlock: GetBlock,
  directory: DirectoryAt | undefined,
): Promise<Map<string, ChildEntry>> {
  if (directory === undefined) {
    return new Map()
  }
  const record = { kind: 'directory' as const, mode: 0, sizeBytes: 0, ...directory }
  // Names that cannot be shown were said when the directory was listed.
  const children = await directoryContent(getBlock, record, () => {})
  return new Map(children.map((child) => [child.name, child]))
}

function sameEntry(a: ChildEntry | undefined, b: ChildEntry | undefined): boolean {
  if (a === undefined || b === undefined) {
    return a === b
  }
  const same = a.cid.equals(b.cid) && a.type === b.type && a.mode === b.mode
  return same && a.mtimeNs === b.mtimeNs && sameDirectory(directoryOf(a), directoryOf(b))
}

function sameDirectory(a: DirectoryAt | undefined, b: DirectoryAt | undefined): boolean {
  if (a === undefined || b === undefined) {
    return a === b
  }
  const sameMeta =
    a.metaCid === undefined || b.metaCid === undefined
      ? a.metaCid === b.metaCid
      : a.metaCid.equals(b.metaCid)
  return a.cid.equals(b.cid) && sameMeta
}

function tooLarge(path: string): ModelcacheError {
  return new ModelcacheError(`compare roots: more names than can be compared, at ${path}`, {
    code: 'tree-too-large',
    errno: 'EFBIG',
    exitCode: 1,
  })
}
