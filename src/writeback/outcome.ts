import type { FileRow, InodeId, Stamp } from '../tree/index.ts'

/** One file to be settled. */
export interface SettleRequest {
  /** Relative to the tree. */
  path: string
  id: InodeId
  /** Of a commit: settle this content only; whatever came later belongs to the next root. */
  listed?: Stamp | undefined
  /** Settling ends with `busy` when it aborts: there is no time left for hashing. */
  signal?: AbortSignal | undefined
}

/**
 * How settling ended. `busy`: a writer or a writable mapping exists, or time ran out. `broken`:
 * the file changed under our hands. `gone`: the name has another file or none. `withheld`: it
 * was read, and must not enter a root.
 */
export type SettleOutcome =
  | { state: 'settled'; row: FileRow }
  | { state: 'busy' | 'broken' | 'gone' | 'withheld'; reason: string }
