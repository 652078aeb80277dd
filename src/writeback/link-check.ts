import { posix } from 'node:path'
import type { CID } from 'multiformats/cid'
import type { GetBlock } from '../dag/index.ts'
import type { Database } from '../tree/index.ts'
import type { NameRules } from './name-rules.ts'
import { childPath, type PlannedDirectory, type TreePlan } from './plan.ts'
import { PreviousDirectory } from './previous-directory.ts'

export interface LinkCheckParts {
  database: Pick<Database, 'directories'>
  names: Pick<NameRules, 'reason'>
  getBlock: GetBlock
  /** Absolute targets below it stay inside the tree. */
  mountpoint: string
}

/**
 * Leaves out links whose target is missing from the root only because it is not settled or
 * withheld: a root that shows a snapshot link shows the blob too. Such a link keeps its entry of
 * the previous root where that still leads somewhere. Leaving one out can leave others dangling,
 * so it goes on until nothing changes.
 */
export async function leaveOutDanglingLinks(plan: TreePlan, parts: LinkCheckParts): Promise<void> {
  const check = new LinkCheck(plan, parts)
  for (let changed = true; changed; ) {
    changed = false
    for (const directory of plan.directories) {
      if (await check.run(directory)) {
        changed = true
      }
    }
  }
}

/**
 * Where a link leads, by its text alone.
 *
 * @returns a path relative to the tree, or undefined where it leads out of it
 */
export function lexicalTarget(
  path: string,
  target: string,
  mountpoint: string,
): string | undefined {
  let relative: string
  if (target.startsWith('/')) {
    const absolute = posix.normalize(target)
    if (absolute !== mountpoint && !absolute.startsWith(`${mountpoint}/`)) {
      return undefined
    }
    relative = absolute.slice(mountpoint.length + 1)
  } else {
    relative = posix.normalize(posix.join(posix.dirname(path), target))
  }
  const trimmed = relative.replace(/\/+$/, '')
  if (trimmed === '..' || trimmed.startsWith('../')) {
    return undefined
  }
  return trimmed === '.' ? '' : trimmed
}

type LeftOutState = 'open' | 'withheld'

class LinkCheck {
  readonly #plan: TreePlan
  readonly #parts: LinkCheckParts
  readonly #byPath: ReadonlyMap<string, PlannedDirectory>

  constructor(plan: TreePlan, parts: LinkCheckParts) {
    this.#plan = plan
    this.#parts = parts
    this.#byPath = new Map(plan.directories.map((directory) => [directory.path, directory]))
  }

  /** True when a name of the directory was changed or left out. */
  async run(directory: PlannedDirectory): Promise<boolean> {
    let changed = false
    for (const [name, entry] of directory.entries) {
      const path = childPath(directory.path, name)
      if (entry.kind === 'link') {
        const target = lexicalTarget(path, entry.target, this.#parts.mountpoint)
        const state = target === undefined ? undefined : this.#leftOut(target)
        if (state !== undefined) {
          await this.#leaveOut(directory, name, path, state)
          changed = true
        }
      } else if (entry.kind === 'carried' && entry.previous.meta.type === 'l') {
        if (!(await this.#leadsSomewhere(path, entry.previous.meta.target))) {
          this.#drop(directory, name, path, 'open')
          changed = true
        }
      }
    }
    return changed
  }

  /** The name, or a folder on the way to it, is on disk and not in the root. */
  #leftOut(target: string): LeftOutState | undefined {
    for (let end = target.indexOf('/'); end !== -1; end = target.indexOf('/', end + 1)) {
      const above = this.#plan.absent.get(target.slice(0, end))
      if (above !== undefined) {
        return above
      }
    }
    const own = this.#plan.absent.get(target)
    return own ?? (this.#parts.names.reason(target, 'f') === undefined ? undefined : 'withheld')
  }

  async #leaveOut(
    directory: PlannedDirectory,
    name: string,
    path: string,
    state: LeftOutState,
  ): Promise<void> {
    this.#plan[state].push({ path, reason: 'it leads to a name that is not in the root' })
    const previous = (await directory.previous.entries()).get(name)
    if (previous === undefined || previous.meta.type === 'd') {
      this.#drop(directory, name, path, state)
    } else {
      directory.entries.set(name, { kind: 'carried', previous })
    }
  }

  #drop(directory: PlannedDirectory, name: string, path: string, state: LeftOutState): void {
    directory.entries.set(name, { kind: 'absent' })
    this.#plan.absent.set(path, state)
  }

  async #leadsSomewhere(path: string, text: string | undefined): Promise<boolean> {
    const target = lexicalTarget(path, text ?? '', this.#parts.mountpoint)
    if (target === undefined) {
      return true
    }
    return this.#leftOut(target) === undefined && (await this.#isInRoot(target))
  }

  /** Walks down: through directories that are built anew, then through the previous root. */
  async #isInRoot(target: string): Promise<boolean> {
    let path = ''
    let unchanged: PreviousDirectory | undefined
    for (const name of target === '' ? [] : target.split('/')) {
      const planned = unchanged === undefined ? this.#byPath.get(path) : undefined
      path = childPath(path, name)
      if (planned === undefined) {
        const entry = (await unchanged?.entries())?.get(name)
        if (entry === undefined) {
          return false
        }
        unchanged = this.#previousOf(entry.cid, entry.meta.metaCid)
        continue
      }
      const entry = planned.entries.get(name)
      if (entry === undefined || entry.kind === 'absent') {
        return false
      }
      if (entry.kind !== 'directory') {
        // A file, or a link that is looked at on its own: what follows it is not resolved here.
        return true
      }
      if (!this.#byPath.has(path)) {
        unchanged = new PreviousDirectory(
          await this.#parts.database.directories.get(entry.id),
          this.#parts.getBlock,
        )
      }
    }
    return true
  }

  #previousOf(cid: CID, metaCid: CID | undefined): PreviousDirectory {
    const row = { cid, metaCid, tsizeBytes: 0, mode: 0, mtimeNs: 0n, carried: [] }
    return new PreviousDirectory(row, this.#parts.getBlock)
  }
}
