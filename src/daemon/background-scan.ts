import { type Logger, messageOf } from '../base/index.ts'
import type { Engine } from '../mount/index.ts'
import { type Database, sameStamp } from '../tree/index.ts'
import type { NameRules, SettleQueue } from '../writeback/index.ts'

export interface ScanParts {
  engine: Pick<Engine, 'snapshot'>
  database: Pick<Database, 'files'>
  names: NameRules
  queue: Pick<SettleQueue, 'hint'>
  logger: Logger
}

/**
 * After an unclean stop, or a restart of the daemon: compares the stamp of every file that may
 * have changed with its row and queues what is dirty. The listing is not committed, so the next
 * commit sees all of it again.
 *
 * @param everything compare the whole tree, and not only what the engine knows to have changed
 */
export async function scanTree(parts: ScanParts, everything: boolean): Promise<void> {
  const { database, engine, logger, names, queue } = parts
  try {
    const { directories } = await engine.snapshot(everything)
    let files = 0
    let dirty = 0
    for (const { path: directory, entries } of directories) {
      for (const { name, type, id, stamp, record, damage } of entries) {
        const isComplete = type === 'f' && record === undefined && damage === undefined
        if (!isComplete || typeof name !== 'string' || typeof directory !== 'string') {
          continue
        }
        const path = directory === '' ? name : `${directory}/${name}`
        files += 1
        const row = await database.files.get(id)
        const clean = row !== undefined && sameStamp(row.stamp, stamp)
        if (!clean && names.reason(path, 'f') === undefined) {
          dirty += 1
          queue.hint(path, id, 'writer')
        }
      }
    }
    logger.info('stamps compared', { directories: directories.length, files, dirty, everything })
  } catch (error) {
    // The next commit compares the same: this only settles earlier what it would settle then.
    logger.warn('stamps were not compared', { reason: messageOf(error), error })
  }
}
