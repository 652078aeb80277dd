import type { Clock, Logger } from '../base/index.ts'
import type { NodeStore } from '../blocks/index.ts'
import type { Engine } from '../mount/index.ts'
import type { Database, InodeId } from '../tree/index.ts'

/** What settling needs of the rest. */
export interface SettlerParts {
  engine: Pick<Engine, 'lease' | 'settled' | 'unlease'>
  database: Pick<Database, 'files' | 'leaves' | 'objects'>
  nodes: Pick<NodeStore, 'put' | 'flush' | 'hold'>
  /** Absolute; the daemon looks at the tree itself and never at the mount. */
  treeDir: string
  /**
   * Every change of a file that was looked at gets another ctime, however soon it comes (multigrain
   * timestamps). Only then can a file that was open for writing be known to be unchanged.
   */
  exactStamps: boolean
  clock: Clock
  logger: Logger
  /** The table cannot be trusted any more: the daemon ends, and the next one recovers. */
  onFatal(error: unknown): void
  /** The inode got an object, and had none before. */
  onFirstObject?(id: InodeId): void
}
