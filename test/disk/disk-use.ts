import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes that a directory takes on its disk, each inode once however many names it has: `du`. */
export async function diskUseBytes(directory: string): Promise<number> {
  const seen = new Set<bigint>()
  const visit = async (path: string): Promise<bigint> => {
    const stats = await lstat(path, { bigint: true })
    if (seen.has(stats.ino)) return 0n
    seen.add(stats.ino)
    let blocks = stats.blocks
    if (stats.isDirectory()) {
      for (const name of await readdir(path)) blocks += await visitIfThere(join(path, name))
    }
    return blocks
  }
  /** The store is alive: a table of its database may go between two looks. */
  const visitIfThere = async (path: string): Promise<bigint> => {
    try {
      return await visit(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0n
      throw error
    }
  }
  return Number(await visit(directory)) * 512
}
