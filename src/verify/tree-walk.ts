import { isUtf8 } from 'node:buffer'
import type { BigIntStats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { isErrno } from '../base/index.ts'

/** A name in the cache tree. */
export interface TreeName {
  /** Relative to the tree; with replacement characters where it is not UTF-8. */
  path: string
  /** Absolute, as it is on disk. */
  place: Buffer
  stats: BigIntStats
}

const SLASH = Buffer.from('/')

/** Files and directories of a tree, the tree itself first. What vanishes meanwhile is left out. */
export async function* walkTree(tree: string, signal?: AbortSignal): AsyncGenerator<TreeName> {
  const root = Buffer.from(tree)
  const pending = [root]
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    signal?.throwIfAborted()
    const named = await nameOf(root, folder)
    if (named !== undefined) {
      yield named
      for (const name of await namesIn(folder)) {
        const place = Buffer.concat([folder, SLASH, name])
        const child = await nameOf(root, place)
        if (child?.stats.isDirectory()) {
          pending.push(place)
        } else if (child?.stats.isFile()) {
          yield child
        }
      }
    }
  }
}

async function nameOf(root: Buffer, place: Buffer): Promise<TreeName | undefined> {
  try {
    const stats = await lstat(place, { bigint: true })
    const inside = place.subarray(Math.min(root.length + 1, place.length))
    const path = isUtf8(inside) ? inside.toString() : inside.toString('latin1')
    return { path, place, stats }
  } catch (error) {
    return ifGone(error, undefined)
  }
}

async function namesIn(folder: Buffer): Promise<Buffer[]> {
  try {
    return await readdir(folder, { encoding: 'buffer' })
  } catch (error) {
    return ifGone(error, [])
  }
}

/** What was removed between two looks is no finding, and neither is what its owner closed. */
function ifGone<T>(error: unknown, value: T): T {
  if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) {
    return value
  }
  throw error
}
