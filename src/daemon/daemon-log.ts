import { writeSync } from 'node:fs'
import { createLogger, isErrno, LOG_LEVELS, type Logger } from '../base/index.ts'

const STDERR = 2

/**
 * The log of this process: lines on its standard error, which is a file in the store.
 *
 * @param level - what `MODELCACHE_LOG` names; another word, or none, is no reason not to serve
 */
export function createDaemonLog(level: string | undefined): Logger {
  return createLogger({
    level: LOG_LEVELS.find((one) => one === level) ?? 'info',
    write: tryWrite,
  })
}

/**
 * A log that has no room loses lines. Node's own stream would end the process with the error, and
 * with it, on a full disk, a mount that has its engine here.
 */
function tryWrite(line: string): void {
  try {
    writeSync(STDERR, line)
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT', 'EIO', 'EPIPE', 'EAGAIN')) {
      throw error
    }
  }
}
