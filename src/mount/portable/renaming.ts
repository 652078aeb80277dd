/** rename: two names change at once; and libfuse's own renames of open files. */
import { type BigIntStats, renameSync } from 'node:fs'
import { inodeIdOf, inodeKey } from '../../tree/index.ts'
import { directoriesIn } from './listing.ts'
import { type Loss, prepareLoss } from './names.ts'
import { below, nameOf, parentOf } from './native-path.ts'
import { type Parts, whenListed } from './parts.ts'
import type { OpenDirectory } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'

export function renamingOperations(parts: Parts): Pick<Operations, 'rename'> {
  return { rename: (request) => rename(parts, request) }
}

function rename(parts: Parts, request: Request): number | Promise<number> {
  const { path, dest } = request
  return whenListed(parts, parentOf(path), (from) => {
    const source = parts.places.look(from, nameOf(path))
    if (parts.hidden.isHiding(request, isOpen(parts, source))) {
      parts.hidden.hide(request, from, parts.places.pin(path))
      return 0
    }
    if (source?.isDirectory()) {
      parts.hidden.removeFirst(dest)
    }
    return whenListed(parts, parentOf(dest), (to) => {
      const target = parts.places.look(to, nameOf(dest))
      return target?.isDirectory()
        ? // A directory is replaced only if it is empty, which only its listing can tell.
          whenListed(parts, dest, () => renameWithin(parts, path, dest))
        : renameWithin(parts, path, dest)
    })
  })
}

function isOpen({ files }: Parts, stats: BigIntStats | undefined): boolean {
  return stats !== undefined && files.isOpen(inodeKey(inodeIdOf(stats)))
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
        parts.hidden.replaced(dest)
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
  const { marks, hidden, places } = parts
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
