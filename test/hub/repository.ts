import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** One file of a commit, as the hub describes it. */
export interface RepoFile {
  path: string
  /** Where its bytes are on this machine. */
  source: string
  sizeBytes: number
  /** git's name of the blob, or of the pointer file where the content lives in LFS. */
  oid: string
  /** SHA-256 of the content, for files kept in LFS. */
  lfsOid?: string
}

/** One state of a repository: an immutable list of files under a 40-hex name. */
export interface RepoCommit {
  sha: string
  files: RepoFile[]
  date: string
}

/** What the hub puts into LFS: weights by their suffix, and everything large. */
const LFS_SUFFIX = /\.(safetensors|bin|onnx|onnx_data|gguf|pt|pth|h5|msgpack|model|npz|npy)$/
const LFS_FROM_BYTES = 10 * 1024 * 1024

/** Reads a directory as a commit. Its name depends on the content only, as with git. */
export async function readCommit(directory: string, date: string): Promise<RepoCommit> {
  const files: RepoFile[] = []
  const visit = async (relative: string): Promise<void> => {
    const entries = await readdir(join(directory, relative), { withFileTypes: true })
    for (const entry of entries) {
      const path = relative === '' ? entry.name : `${relative}/${entry.name}`
      if (entry.isDirectory()) await visit(path)
      else files.push(await readFileEntry(directory, path))
    }
  }
  await visit('')
  files.sort((a, b) => (a.path < b.path ? -1 : 1))
  const listing = files.map((file) => `${file.oid} ${file.lfsOid ?? ''} ${file.path}\n`).join('')
  return { sha: createHash('sha1').update(listing).digest('hex'), files, date }
}

async function readFileEntry(directory: string, path: string): Promise<RepoFile> {
  const source = join(directory, path)
  const sizeBytes = (await stat(source)).size
  if (!LFS_SUFFIX.test(path) && sizeBytes < LFS_FROM_BYTES) {
    const hash = createHash('sha1').update(`blob ${sizeBytes}\0`)
    await pipeline(createReadStream(source), hash)
    return { path, source, sizeBytes, oid: hash.digest('hex') }
  }
  const hash = createHash('sha256')
  await pipeline(createReadStream(source), hash)
  const lfsOid = hash.digest('hex')
  const pointer = lfsPointer(lfsOid, sizeBytes)
  const oid = createHash('sha1').update(`blob ${pointer.length}\0${pointer}`).digest('hex')
  return { path, source, sizeBytes, oid, lfsOid }
}

/** The text that git keeps in place of a file in LFS. */
export function lfsPointer(sha256: string, sizeBytes: number): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${sizeBytes}\n`
}

/** An entry of the tree and paths-info routes. */
export function treeEntry(file: RepoFile): Record<string, unknown> {
  const entry: Record<string, unknown> = {
    type: 'file',
    oid: file.oid,
    size: file.sizeBytes,
    path: file.path,
  }
  if (file.lfsOid !== undefined) {
    const pointerSize = lfsPointer(file.lfsOid, file.sizeBytes).length
    entry.lfs = { oid: file.lfsOid, size: file.sizeBytes, pointerSize }
  }
  return entry
}

/** The directories that the paths of a commit imply, for tree listings. */
export function directoryEntries(files: RepoFile[]): Record<string, unknown>[] {
  const names = new Set<string>()
  for (const file of files) {
    const parts = file.path.split('/').slice(0, -1)
    parts.forEach((_, index) => {
      names.add(parts.slice(0, index + 1).join('/'))
    })
  }
  return [...names].sort().map((path) => ({
    type: 'directory',
    oid: createHash('sha1').update(path).digest('hex'),
    size: 0,
    path,
  }))
}
