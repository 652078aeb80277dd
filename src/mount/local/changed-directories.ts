import { type InodeId, inodeKey } from '../../tree/index.ts'

/** Directories by path; true: a program set its mode or times. */
export type Marks = ReadonlyMap<string, boolean>

interface Pending {
  snapshot: number
  marks: Map<string, boolean>
  all: boolean
  /** Where the directories of the snapshot were, by inode. */
  paths: ReadonlyMap<string, string>
  /** What was renamed since. */
  moves: [from: string, to: string][]
}

/**
 * Which directories changed since the last commit: memory only, kept until the daemon says that a
 * snapshot is in the log. A path names a directory as long as every rename and removal is told.
 */
export class ChangedDirectories {
  #marks = new Map<string, boolean>()
  #all: boolean
  #pending: Pending[] = []
  #lastSnapshot = 0

  /** @param all the next snapshot lists everything */
  constructor(all: boolean) {
    this.#all = all
  }

  /** Whether anything changed that no commit has. */
  get any(): boolean {
    return this.#all || this.#marks.size > 0 || this.#pending.length > 0
  }

  mark(path: string, explicit: boolean): void {
    this.#marks.set(path, explicit || this.#marks.get(path) === true)
  }

  /**
   * A directory could not be listed: it and what was marked below it, which could not be reached
   * either, stay what they were in the root until they can be.
   */
  stillChanged(path: string, marks: Marks): void {
    this.mark(path, marks.get(path) === true)
    for (const [marked, explicit] of marks) {
      if (isWithin(marked, path)) {
        this.mark(marked, explicit)
      }
    }
  }

  /** Not all directories that changed are known. */
  markAll(): void {
    this.#all = true
  }

  /** Marks below `from` are below `to` now; those of what was at `to` are gone. */
  moved(from: string, to: string): void {
    this.removed(to)
    for (const marks of this.#allMarks()) {
      for (const [path, explicit] of [...marks]) {
        if (isWithin(path, from)) {
          marks.delete(path)
          marks.set(to + path.slice(from.length), explicit)
        }
      }
    }
    for (const { moves } of this.#pending) {
      moves.push([from, to])
    }
  }

  /**
   * A listing of it is not needed any more, also not for a snapshot that was never committed: the
   * next directory of that name is another one.
   */
  removed(path: string): void {
    for (const marks of this.#allMarks()) {
      for (const marked of [...marks.keys()]) {
        if (isWithin(marked, path)) {
          marks.delete(marked)
        }
      }
    }
  }

  /** Begins a snapshot with all marks, those of snapshots that were never committed included. */
  take(): { snapshot: number; marks: Marks; all: boolean } {
    const marks = this.#marks
    let all = this.#all
    for (const pending of this.#pending) {
      all ||= pending.all
      for (const [path, explicit] of pending.marks) {
        marks.set(path, explicit || marks.get(path) === true)
      }
    }
    this.#lastSnapshot += 1
    const snapshot = this.#lastSnapshot
    const paths = new Map<string, string>()
    this.#pending = [{ snapshot, marks: new Map(marks), all, paths, moves: [] }]
    this.#marks = new Map()
    this.#all = false
    return { snapshot, marks, all }
  }

  /** What a snapshot listed, for `committed` to find by inode. */
  listed(snapshot: number, directories: Iterable<{ id: InodeId; path: unknown }>): void {
    const pending = this.#pending.find((one) => one.snapshot === snapshot)
    if (pending !== undefined) {
      const paths = new Map<string, string>()
      for (const { id, path } of directories) {
        if (typeof path === 'string') {
          paths.set(inodeKey(id), path)
        }
      }
      pending.paths = paths
    }
  }

  /** The changes up to this snapshot are in the log; the directories of `again` stay changed. */
  committed(snapshot: number, again: readonly InodeId[]): void {
    const done = this.#pending.filter((pending) => pending.snapshot <= snapshot)
    this.#pending = this.#pending.filter((pending) => pending.snapshot > snapshot)
    const last = done.at(-1)
    for (const id of again) {
      const path = last?.paths.get(inodeKey(id))
      if (last === undefined || path === undefined) {
        this.markAll()
      } else {
        this.mark(movedPath(path, last.moves), false)
      }
    }
  }

  #allMarks(): Map<string, boolean>[] {
    return [this.#marks, ...this.#pending.map(({ marks }) => marks)]
  }
}

function movedPath(path: string, moves: readonly [string, string][]): string {
  return moves.reduce(
    (at, [from, to]) => (isWithin(at, from) ? to + at.slice(from.length) : at),
    path,
  )
}

/** Everything is within the root. */
function isWithin(path: string, directory: string): boolean {
  return directory === '' || path === directory || path.startsWith(`${directory}/`)
}
