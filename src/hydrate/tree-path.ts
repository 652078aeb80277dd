import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno, ModelcacheError } from '../base/index.ts'

/** A path relative to the tree; bytes where it is not UTF-8. `""` is the root of the tree. */
export type TreePath = string | Uint8Array

/** Where to open it: what the caller gave, else the path below the tree. */
export function placeOf(tree: string, path: TreePath, at: string | undefined): string | Buffer {
  if (at !== undefined) {
    return at
  }
  return typeof path === 'string'
    ? join(tree, path)
    : Buffer.concat([Buffer.from(`${tree}/`), path])
}

/** For messages and logs. */
export function shownPath(path: TreePath): string {
  return typeof path === 'string' ? path || '.' : Buffer.from(path).toString()
}

/**
 * Opens what a path leads to.
 *
 * @param follow - the place is a link of /proc to an open file
 * @throws `stale` (ESTALE) where nothing, or something of another kind, has the name by now
 */
export async function openPlace(
  place: string | Buffer,
  flags: number,
  follow: boolean,
): Promise<FileHandle> {
  try {
    return await open(place, flags | (follow ? 0 : constants.O_NOFOLLOW))
  } catch (error) {
    throw isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR') ? stale(place) : error
  }
}

export function stale(path: TreePath): ModelcacheError {
  return new ModelcacheError(`${shownPath(path)}: it is another file now, or none`, {
    code: 'stale',
    errno: 'ESTALE',
  })
}
