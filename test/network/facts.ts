import { lstat, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** What the names of a tree say without a look into any file: one line of facts a path. */
export async function treeFacts(root: string): Promise<Map<string, string>> {
  const facts = new Map<string, string>()
  const visit = async (relative: string): Promise<void> => {
    const stats = await lstat(join(root, relative), { bigint: true })
    const { mode, size, mtimeNs, nlink } = stats
    const type = stats.isDirectory() ? 'directory' : stats.isSymbolicLink() ? 'link' : 'file'
    const own = {
      directory: () => '',
      link: async () => `-> ${await readlink(join(root, relative))}`,
      file: () => `${size} bytes, ${nlink} names`,
    }
    const words = [type, mode.toString(8), `mtime ${mtimeNs}`, await own[type]()]
    facts.set(relative, words.join(' '))
    if (!stats.isDirectory()) return
    for (const name of await readdir(join(root, relative))) {
      await visit(relative === '' ? name : `${relative}/${name}`)
    }
  }
  await visit('')
  return facts
}

/** One line for each path whose facts differ. */
export function factDifferences(expected: Map<string, string>, got: Map<string, string>): string[] {
  return [...new Set([...expected.keys(), ...got.keys()])]
    .filter((path) => expected.get(path) !== got.get(path))
    .map((path) => `${path}: ${expected.get(path) ?? 'absent'}, but ${got.get(path) ?? 'absent'}`)
}
