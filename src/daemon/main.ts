/** What the keeper starts, with its socket as descriptor 3. */
import { messageOf, systemClock } from '../base/index.ts'
import { processEnvironment } from '../config/index.ts'
import { connectKeeper } from '../mount/index.ts'
import { createDaemon } from './daemon.ts'
import { createDaemonLog } from './daemon-log.ts'

const logger = createDaemonLog(processEnvironment().MODELCACHE_LOG)

process.umask(0o077)
// The keeper decides when a mount ends. A terminal's interrupt reaches the whole group, and what
// is committed last must not depend on who gets it first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => logger.debug('left to the keeper', { signal }))
}
process.on('uncaughtException', (error) => {
  logger.error('the daemon failed', { reason: messageOf(error), error })
  process.exit(1)
})

try {
  const { hello, keeper } = await connectKeeper()
  const daemon = createDaemon({
    hello,
    engine: keeper,
    clock: systemClock,
    logger,
    exit: (code) => process.exit(code),
  })
  await daemon.run()
} catch (error) {
  logger.error('no keeper to serve', { reason: messageOf(error), error })
  process.exit(1)
}
