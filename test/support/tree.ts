import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** One name of a tree, as `lstat` and the bytes show it. */
export interface TreeEntry {
  path: string
  type: 'file' | 'directory' | 'link' | 'other'
  /** Permission bits in octal; undefined for links, whose mode means nothing. */
  mode?: string
  sizeBytes?: number
  sha256?: string
  target?: string
  mtimeNs?: string
}

export interface TreeOptions {
  /** Compare the nanosecond mtimes of files too. */
  mtimes?: boolean
  /** Leaves names out, with all below them. */
  ignore?: (path: string) => boolean
}

/** Reads a whole tree, sorted bytewise by path; links are not followed. */
export async function readTree(root: string, options: TreeOptions = {}): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = []
  const visit = async (relative: string): Promise<void> => {
    const names = await readdir(join(root, relative))
    for (const name of names.sort(bytewise)) {
      const path = relative === '' ? name : `${relative}/${name}`
      if (options.ignore?.(path)) continue
      const entry = await readEntry(root, path, options.mtimes ?? false)
      entries.push(entry)
      if (entry.type === 'directory') await visit(path)
    }
  }
  await visit('')
  return entries
}

async function readEntry(root: string, path: string, mtimes: boolean): Promise<TreeEntry> {
  const full = join(root, path)
  const stats = await lstat(full, { bigint: true })
  const mode = (Number(stats.mode) & 0o7777).toString(8).padStart(4, '0')
  if (stats.isSymbolicLink()) return { path, type: 'link', target: await readlink(full) }
  if (stats.isDirectory()) return { path, type: 'directory', mode }
  if (!stats.isFile()) return { path, type: 'other', mode }
  const hash = createHash('sha256')
  await pipeline(createReadStream(full), hash)
  const entry: TreeEntry = {
    path,
    type: 'file',
    mode,
    sizeBytes: Number(stats.size),
    sha256: hash.digest('hex'),
  }
  if (mtimes) entry.mtimeNs = String(stats.mtimeNs)
  return entry
}

function bytewise(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** The differences of two trees as lines, one a name; empty when they are equal. */
export function treeDifferences(expected: TreeEntry[], got: TreeEntry[]): string[] {
  const left = new Map(expected.map((entry) => [entry.path, JSON.stringify(entry)]))
  const right = new Map(got.map((entry) => [entry.path, JSON.stringify(entry)]))
  const paths = [...new Set([...left.keys(), ...right.keys()])].sort(bytewise)
  return paths
    .filter((path) => left.get(path) !== right.get(path))
    .map((path) => `${path}: ${left.get(path) ?? 'absent'} but ${right.get(path) ?? 'absent'}`)
}
