/** rename: two names change at once; and libfuse's own renames of open files. */
import { type BigIntStats, closeSync, renameSync } from 'node:fs'
import { ModelcacheError } from '../../base/index.ts'
import { inodeIdOf } from '../../tree/index.ts'
import { directoriesIn, isEmptyDirectory } from './listing.ts'
import { type Loss, prepareLoss, removeFile } from './names.ts'
import { below, nameOf, parentOf } from './native-path.ts'
import { type Parts, whenListed } from './parts.ts'
import type { OpenDirectory, Places } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'

export function renamingOperations(parts: Parts): Pick<Operations, 'rename'> {
  return { rename: (request) => rename(parts, request) }
}

function rename(parts: Parts, request: Request): number | Promise<number> {
  const { path, dest } = request
  if (parts.hidden.isHidden(dest)) {
    return hide(parts, request)
  }
  return whenListed(parts, parentOf(path), () =>
    whenListed(parts, parentOf(dest), (to) => {
      const target = parts.places.look(to, nameOf(dest))
      return target?.isDirectory()
        ? // A directory is replaced only if it is empty, which only its listing can tell.
          whenListed(parts, dest, () => renameWithin(parts, path, dest))
        : renameWithin(parts, path, dest)
    }),
  )
}

/**
 * The first of libfuse's two steps. A removal is done here; a replacement by the rename that the same
 * thread asks for next, so that it is one step on disk, too.
 */
function hide(parts: Parts, request: Request): number | Promise<number> {
  const { path, dest } = request
  const hiding = parts.hidden.hidingBy(request)
  if (hiding === 'replacement' && parts.places.find(path) === undefined) {
    // A directory that went with open files below it, which only libfuse knows still.
    parts.hidden.movedDirectory(path, dest)
    return 0
  }
  const pin = parts.places.pin(path)
  const act = () => {
    if (pin.stats.isDirectory()) {
      requireEmpty(parts.places, path)
    } else if (hiding === 'removal') {
      removeFile(parts, path)
    }
    parts.hidden.add(dest, pin)
    return 0
  }
  const failed = (error: unknown): never => {
    closeSync(pin.fd)
    throw error
  }
  try {
    // A directory that is not listed looks empty on disk, but is not.
    const listed = pin.stats.isDirectory() ? path : parentOf(path)
    const result = whenListed(parts, listed, act)
    return typeof result === 'number' ? result : result.catch(failed)
  } catch (error) {
    return failed(error)
  }
}

/** What rename(2) would say next; libfuse would have taken the directory's name from it by then. */
function requireEmpty(places: Places, path: string): void {
  if (!isEmptyDirectory(places, path)) {
    throw new ModelcacheError(`rename over ${path}`, { code: 'ENOTEMPTY', errno: 'ENOTEMPTY' })
  }
}

function renameWithin(parts: Parts, path: string, dest: string): number {
  return parts.places.inDirectory(parentOf(path), (from) =>
    parts.places.inDirectory(parentOf(dest), (to) => {
      const target = parts.places.look(to, nameOf(dest))
      const source = prepareLoss(parts, from, path)
      const replaced = target === undefined ? undefined : prepareLoss(parts, to, dest)
      try {
        renameSync(below(from.at, nameOf(path)), below(to.at, nameOf(dest)))
        const isSame = target?.ino === source.stats.ino
        if (!isSame) {
          // Two names of one file: rename(2) does nothing.
          renamed(parts, { path, dest, to }, source.stats, replaced)
        }
        return 0
      } finally {
        source.close()
        replaced?.close()
      }
    }),
  )
}

function renamed(
  parts: Parts,
  { path, dest, to }: { path: string; dest: string; to: OpenDirectory },
  before: BigIntStats,
  replaced: Loss | undefined,
): void {
  const { files, marks, hidden, places } = parts
  files.moved(path, dest)
  if (replaced?.stats.isDirectory()) {
    marks.removedDirectory(dest, inodeIdOf(replaced.stats))
  } else {
    replaced?.tell()
  }
  marks.changed(parentOf(path))
  marks.changed(parentOf(dest))
  if (before.isDirectory()) {
    hidden.movedDirectory(path, dest)
    marks.movedDirectory(path, dest, () => directoriesIn(places, dest))
  }
  const after = places.look(to, nameOf(dest))
  if (before.isFile() && after !== undefined) {
    marks.moved(before, after)
    marks.final(inodeIdOf(before), dest, 'name')
  }
}
