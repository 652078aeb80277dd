import type { ChildEntry } from '../hydrate/index.ts'
import type { Difference } from './tree-difference.ts'

/** One thing to be done in the mount, by its path; in the order of the plan. */
export type RestoreStep =
  | { do: 'remove'; path: string; directory: boolean }
  | { do: 'directory'; path: string }
  /** The staged file of this number gets the name. */
  | { do: 'file'; path: string; staged: number }
  | { do: 'empty'; path: string }
  | { do: 'link'; path: string; target: string }
  /** `mtimeNs` is decimal: JSON has no integers of 64 bits. */
  | { do: 'attributes'; path: string; mode: number; mtimeNs: string; link: boolean }

/** A file whose bytes are needed under a new name. */
export interface WantedFile {
  path: string
  entry: ChildEntry
  /** A name that is removed and has the same bytes. */
  movedFrom: string | undefined
}

export interface RestorePlan {
  steps: RestoreStep[]
  /** The staged files, by number. */
  wanted: WantedFile[]
}

/**
 * What turns one tree into another: removals from the bottom up, then directories, then files and
 * links, and last the attributes, directories from the bottom up, since everything before moves
 * their times.
 */
export function planRestore(differences: readonly Difference[]): RestorePlan {
  const removals: RestoreStep[] = []
  const directories: RestoreStep[] = []
  const contents: RestoreStep[] = []
  const attributes: RestoreStep[] = []
  const wanted: WantedFile[] = []
  const moved = removedFiles(differences)
  for (const { path, before, after } of differences) {
    if (before !== undefined && before.type !== after?.type) {
      removals.unshift({ do: 'remove', path, directory: before.type === 'd' })
    }
    if (after !== undefined) {
      const isNew = before?.type !== after.type
      if (after.type === 'd') {
        directories.push(...(isNew ? [{ do: 'directory' as const, path }] : []))
      } else if (isNew || before?.cid.equals(after.cid) === false) {
        contents.push(contentStep(path, after, wanted, moved))
      }
      const { mode, mtimeNs, type } = after
      const step = { path, mode, mtimeNs: mtimeNs.toString(), link: type === 'l' }
      attributes.unshift({ do: 'attributes', ...step })
    }
  }
  return { steps: [...removals, ...directories, ...contents, ...attributes], wanted }
}

function contentStep(
  path: string,
  entry: ChildEntry,
  wanted: WantedFile[],
  moved: Map<string, string>,
): RestoreStep {
  if (entry.type === 'l') {
    return { do: 'link', path, target: entry.target }
  }
  if (entry.sizeBytes === 0) {
    return { do: 'empty', path }
  }
  const key = entry.cid.toString()
  const movedFrom = moved.get(key)
  // Only one name can have the inode; others get a copy.
  moved.delete(key)
  wanted.push({ path, entry, movedFrom })
  return { do: 'file', path, staged: wanted.length - 1 }
}

function removedFiles(differences: readonly Difference[]): Map<string, string> {
  const removed = new Map<string, string>()
  for (const { path, before, after } of differences) {
    if (before?.type === 'f' && after?.type !== 'f') {
      removed.set(before.cid.toString(), path)
    }
  }
  return removed
}
