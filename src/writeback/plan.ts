import type { CID } from 'multiformats/cid'
import type { ListedDirectory } from '../mount/index.ts'
import type { InodeId, PlaceholderRecord } from '../tree/index.ts'
import type { PreviousDirectory, PreviousEntry } from './previous-directory.ts'

/** What a name of a listed directory becomes in the root. */
export type PlannedEntry =
  | {
      kind: 'file'
      cid: CID
      /** Undefined of a placeholder: its record does not say. */
      tsizeBytes: number | undefined
      mode: number
      mtimeNs: bigint
      sizeBytes: number
    }
  | { kind: 'link'; target: string; mode: number; mtimeNs: bigint }
  | {
      kind: 'directory'
      id: InodeId
      mode: number
      mtimeNs: bigint
      /** Of a directory that nobody listed yet. */
      record: PlaceholderRecord | undefined
    }
  /** Not settled: it keeps its entry of the previous root. */
  | { kind: 'carried'; previous: PreviousEntry }
  /** Not settled, or withheld, and in no root. */
  | { kind: 'absent' }

/** A directory that is built anew. */
export interface PlannedDirectory {
  /** Relative to the tree; the root is ''. */
  path: string
  listing: Omit<ListedDirectory, 'entries'>
  previous: PreviousDirectory
  entries: Map<string, PlannedEntry>
}

/** A name and why it is not in the root as it is on disk. */
export interface OpenName {
  path: string
  reason: string
}

/** All directories of a commit, parents first. */
export interface TreePlan {
  directories: PlannedDirectory[]
  /**
   * Listed directories that are in no root, by their own name or one above. What is known of them
   * is not true any more, should they get a final name later.
   */
  excluded: InodeId[]
  /**
   * Paths that exist on disk, and not in the root, though nobody removed them: `open` until they
   * are settled, `withheld` for good.
   */
  absent: Map<string, 'open' | 'withheld'>
  open: OpenName[]
  withheld: OpenName[]
  /** A name of the previous root had to be left out: links anywhere may lead to it. */
  lostNames: boolean
}

/** A path below the root: no leading slash. */
export function childPath(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
