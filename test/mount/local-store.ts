/** A store on a real disk with its tree opened in this process, and what it tells. */
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { createLogger, systemClock } from '../../src/base/index.ts'
import {
  type Change,
  type ListedDirectory,
  type LocalTree,
  openLocalTree,
  printableName,
} from '../../src/mount/index.ts'
import {
  createStore,
  type InodeId,
  inodeIdOf,
  type StorePaths,
  storePaths,
} from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

export class LocalStore {
  readonly paths: StorePaths
  readonly tree: LocalTree
  readonly changes: { change: Change; sequence: number }[] = []
  readonly broken: number[] = []
  readonly log: string[]

  constructor(tree: LocalTree, log: string[]) {
    this.paths = tree.paths
    this.tree = tree
    this.log = log
    tree.listen({
      changed: (changes, sequence) => {
        for (const change of changes) {
          this.changes.push({ change, sequence })
        }
      },
      broken: (lease) => this.broken.push(lease),
    })
  }

  at(path: string): string {
    return join(this.paths.tree, path)
  }

  id(path: string): InodeId {
    return inodeIdOf(lstatSync(this.at(path), { bigint: true }))
  }

  kinds(): string[] {
    return this.changes.map(({ change }) => change.kind)
  }

  /** Paths of what a snapshot at once lists, and tells that it was committed. */
  async committedPaths(again: readonly InodeId[] = []): Promise<string[]> {
    const { number, directories } = await this.tree.snapshot(false, false)
    this.tree.committed(number, again)
    return pathsOf(directories)
  }
}

export function pathsOf(directories: readonly ListedDirectory[]): string[] {
  return directories.map(({ path }) => printableName(path))
}

/** Opens a store, a new one without `store`; it is closed, unclean, when the test ends. */
export async function localStore(t: TestContext, store?: string): Promise<LocalStore> {
  const paths = store === undefined ? await createStore(`${tempDir(t)}/store`) : storePaths(store)
  const log: string[] = []
  const logger = createLogger({ level: 'debug', write: (line) => log.push(line) })
  const tree = await openLocalTree(paths, { logger, clock: systemClock })
  t.after(() => tree.close(false))
  return new LocalStore(tree, log)
}
