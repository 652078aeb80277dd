import type { CID } from 'multiformats/cid'
import type { Clock, Logger } from '../base/index.ts'
import type { NodeStore } from '../blocks/index.ts'
import type { KeptFiles, KeptRoots } from '../history/index.ts'
import type { Hydrator, Sources } from '../hydrate/index.ts'
import type { Engine } from '../mount/index.ts'
import type { Database, StorePaths } from '../tree/index.ts'
import type { CommitLog, NameRules, Settler } from '../writeback/index.ts'

/** What verifying needs of a daemon. */
export interface VerifyParts {
  paths: Pick<StorePaths, 'tree' | 'objects' | 'extents'>
  database: Database
  nodes: NodeStore
  sources: Sources
  hydrator: Pick<Hydrator, 'detach'>
  settler: Pick<Settler, 'exclusive'>
  engine: Pick<Engine, 'notifyInode'>
  kept: KeptRoots
  keptFiles: KeptFiles
  log: Pick<CommitLog, 'current'>
  names: Pick<NameRules, 'reason'>
  /** A block of this store; undefined where it is not here. */
  getLocal(cid: CID, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** Makes the current root that of now. */
  commit(): Promise<unknown>
  /** The same, and makes all of its nodes anew. */
  rebuild(): Promise<unknown>
  clock: Clock
  logger: Logger
  /** How long a block is waited for that is fetched to heal something. */
  fetchDeadlineMs: number
}
