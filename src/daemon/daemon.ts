import { unlink } from 'node:fs/promises'
import { type Clock, isErrno, type Logger, ModelcacheError, messageOf } from '../base/index.ts'
import type { DaemonConfig } from '../config/index.ts'
import type { Engine, Hello } from '../mount/index.ts'
import { checkStore } from '../tree/index.ts'
import { adoptRoot } from './adoption.ts'
import { scanTree } from './background-scan.ts'
import { ControlServer } from './control-server.ts'
import { daemonConfigOf } from './daemon-config.ts'
import { Drain } from './drain.ts'
import { createHandlers } from './handlers.ts'
import { createOperations } from './operations.ts'
import { emptyStaging, forgetDirtyRows, type LeftOvers, reconcileObjects } from './recovery.ts'
import { closeServices, openServices, type Services } from './services.ts'

export interface DaemonParts {
  hello: Hello
  engine: Engine
  clock: Clock
  logger: Logger
  /** Ends this process. Called once. */
  exit(code: number): void
}

/** Objects that one request unlinks: a frame holds many more. */
const UNLINK_BATCH = 1000

/**
 * Starts to serve a mount and returns when it is ready. What cannot be served at all is told to
 * the engine, which takes the mount away; a daemon that was started again just ends, since a mount
 * must not go because its daemon had a bad moment.
 */
export async function runDaemon(parts: DaemonParts): Promise<void> {
  const daemon = new Daemon(parts)
  parts.engine.ended.then((error) => daemon.engineEnded(error))
  try {
    await daemon.start()
  } catch (error) {
    const exitCode = error instanceof ModelcacheError ? (error.exitCode ?? 1) : 1
    parts.logger.error('the mount cannot be served', { reason: messageOf(error), error })
    if (parts.hello.restarts === 0) {
      await parts.engine.failed(exitCode, messageOf(error))
    }
    parts.exit(exitCode)
  }
}

class Daemon {
  readonly #parts: DaemonParts
  #control: ControlServer | undefined
  #finishing = false

  constructor(parts: DaemonParts) {
    this.#parts = parts
  }

  async start(): Promise<void> {
    const { clock, engine, hello, logger } = this.#parts
    const config = daemonConfigOf(hello.config)
    const paths = await checkStore(hello.store)
    const onFatal = (error: unknown) => this.#fatal(error)
    const context = { hello, config, engine, paths, clock, logger, onFatal }
    const services = await openServices(context)
    const leftOvers = await this.#recover(services)

    const drain = new Drain({
      engine,
      commit: (signal) => services.committer.commit(signal),
      currentRoot: () => services.log.current(),
      finish: (dirty) => this.#finish(services, dirty),
      clock,
      logger,
    })
    const started = Promise.withResolvers<void>()
    engine.on(
      createHandlers(services, (reason, unmounted) => {
        started.promise.then(() => drain.fromKeeper(reason, unmounted))
      }),
    )
    await this.#dropLeftOvers(services, leftOvers)
    await this.#adopt(services, config)

    const operations = createOperations({ hello, config, engine, services, drain, clock })
    this.#control = new ControlServer(operations, logger)
    await this.#control.listen(paths.run)
    await this.#resumeShare(services)
    drain.serving()
    engine.ready()
    logger.info('serving', { mountpoint: hello.mountpoint, restarts: hello.restarts })
    started.resolve()
    if (!hello.clean || hello.restarts > 0) {
      await scanTree({ ...services, engine, logger }, !hello.clean)
    }
  }

  /** The keeper is gone: nobody needs this process, and the next one recovers. */
  engineEnded(error: Error | undefined): void {
    if (!this.#finishing) {
      this.#parts.logger.warn('the keeper is gone', { reason: error?.message ?? 'end of socket' })
      this.#parts.exit(error === undefined ? 0 : 1)
    }
  }

  /** Before the engine is listened to: nothing settles while table and objects are compared. */
  async #recover(services: Services): Promise<LeftOvers> {
    const { hello, logger } = this.#parts
    const { database, orphans, paths } = services
    const rows = await forgetDirtyRows(paths, database)
    await emptyStaging(paths)
    await orphans.load()
    const sound = hello.clean && hello.restarts === 0 && database.recovery === 'none'
    if (sound) {
      return { strayOids: [], nameless: [] }
    }
    const { recovery } = database
    logger.info('recovering', { clean: hello.clean, restarts: hello.restarts, rows, recovery })
    return reconcileObjects(paths, database, logger)
  }

  async #dropLeftOvers({ orphans }: Services, left: LeftOvers): Promise<void> {
    for (let start = 0; start < left.strayOids.length; start += UNLINK_BATCH) {
      await this.#parts.engine.unlinkObjects(left.strayOids.slice(start, start + UNLINK_BATCH))
    }
    for (const id of left.nameless) {
      orphans.gone(id, 0)
    }
  }

  async #adopt(
    { log, network, nodes, paths, sources }: Services,
    config: DaemonConfig,
  ): Promise<void> {
    const { clock, engine, hello, logger } = this.#parts
    if (config.from === undefined) {
      return
    }
    const root = await adoptRoot(config.from, {
      paths,
      log,
      getBlock: sources.getBlock,
      prepare: async () => network?.helia(),
      flush: () => nodes.flush(),
      clock,
      logger,
      deadlineMs: config.fetchDeadlineMs,
    })
    logger.debug('opened', { root: config.from, mountpoint: hello.mountpoint })
    engine.notifyInode(root)
  }

  /** An address that was given away goes on working; one that cannot is no reason not to serve. */
  async #resumeShare({ share }: Services): Promise<void> {
    try {
      await share?.resume()
    } catch (error) {
      this.#parts.logger.error('the share was not opened again', { reason: messageOf(error) })
    }
  }

  #finish(services: Services, dirty: number): void {
    this.#finishing = true
    this.#end(services, dirty).then(
      () => this.#parts.exit(0),
      (error: unknown) => this.#fatal(error),
    )
  }

  async #end(services: Services, dirty: number): Promise<void> {
    const { engine, logger } = this.#parts
    await this.#control?.close()
    await closeServices(services)
    await removeIfThere(services.paths.share)
    logger.info('done', { dirty })
    await engine.done(dirty)
  }

  #fatal(error: unknown): void {
    this.#parts.logger.error('the daemon ends', { reason: messageOf(error), error })
    this.#parts.exit(1)
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
}
