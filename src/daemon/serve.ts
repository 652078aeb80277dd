/**
 * What the command line starts in place of the keeper where the engine is in the daemon: one
 * process that holds the mount and does the daemon's work. fuse-native works on the main thread
 * only, so this is a program and no worker.
 */
import { readFileSync } from 'node:fs'
import { messageOf, systemClock } from '../base/index.ts'
import { processEnvironment } from '../config/index.ts'
import { createDaemonLog } from './daemon-log.ts'
import { Serving } from './serving.ts'
import { startConfigOf } from './start-config.ts'
import { StarterPipe } from './starter-pipe.ts'

const logger = createDaemonLog(processEnvironment().MODELCACHE_LOG)
const starter = new StarterPipe()

process.umask(0o077)
process.on('SIGHUP', () => logger.debug('the terminal is gone', {}))
process.on('uncaughtException', (error) => {
  // A FUSE mount is left dead, which the next `mount` repairs: taken away, it would let programs
  // write into the empty directory beneath.
  logger.error('the daemon failed', { reason: messageOf(error), error })
  process.exit(1)
})

try {
  const config = startConfigOf(readFileSync(0, 'utf8'))
  const serving = new Serving({
    config,
    clock: systemClock,
    logger,
    starter,
    exit: (code) => process.exit(code),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => serving.told(signal))
  }
  await serving.run()
} catch (error) {
  logger.error('the mount cannot be made', { reason: messageOf(error), error })
  starter.failed(error)
  process.exit(1)
}
