import { open, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { buildDirectory, importFile, symlinkNode } from '../../src/dag/index.ts'

/** A file, link or directory as it stands in a directory node. */
interface Imported {
  cid: CID
  tsizeBytes: number
}

/**
 * The CIDs that src/dag gives a directory and everything below it, by path (`""` for the
 * directory itself). Nothing is stored.
 */
export async function importTree(directory: string): Promise<Map<string, string>> {
  const cids = new Map<string, string>()
  await importDirectory(directory, '', cids)
  return cids
}

async function importDirectory(
  directory: string,
  path: string,
  cids: Map<string, string>,
): Promise<Imported> {
  const entries: (Imported & { name: string })[] = []
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const { name } = entry
    const at = join(directory, name)
    const below = path === '' ? name : `${path}/${name}`
    const imported = entry.isDirectory()
      ? await importDirectory(at, below, cids)
      : entry.isSymbolicLink()
        ? symlinkNode(await readlink(at))
        : await importOne(at)
    cids.set(below, imported.cid.toString())
    entries.push({ name, cid: imported.cid, tsizeBytes: imported.tsizeBytes })
  }
  const built = await buildDirectory(entries, dropNode)
  cids.set(path, built.cid.toString())
  return built
}

async function importOne(path: string): Promise<Imported> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    return await importFile(file.fd, size, { putNode: dropNode })
  } finally {
    await file.close()
  }
}

async function dropNode(): Promise<void> {}
