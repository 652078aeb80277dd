import { unlink } from 'node:fs/promises'
import {
  armFault,
  type Clock,
  delay,
  isErrno,
  type Logger,
  ModelcacheError,
  messageOf,
} from '../base/index.ts'
import type { DaemonConfig } from '../config/index.ts'
import { removeRestoreFolders } from '../history/index.ts'
import type { Engine, Hello } from '../mount/index.ts'
import { checkStore } from '../tree/index.ts'
import { adoptRoot } from './adoption.ts'
import { scanTree } from './background-scan.ts'
import { ControlServer } from './control-server.ts'
import { daemonConfigOf } from './daemon-config.ts'
import { Drain } from './drain.ts'
import { type FetchProgress, fetchAll } from './fetch-all.ts'
import { createHandlers } from './handlers.ts'
import { createOperations } from './operations.ts'
import {
  emptyStaging,
  forgetDirtyRows,
  forgetUnseenRows,
  type LeftOvers,
  reconcileObjects,
} from './recovery.ts'
import { closeServices, forgetCar, openServices, type Services } from './services.ts'
import type { MountState } from './status.ts'

export interface DaemonParts {
  hello: Hello
  engine: Engine
  clock: Clock
  logger: Logger
  /** Absent where the engine tells whoever waits, as the keeper does. */
  starter?: Starter
  /** Ends this process. Called once. */
  exit(code: number): void
}

/** Whoever started this process and waits for the mount. */
export interface Starter {
  progress(progress: FetchProgress): void
  ready(): void
  failed(error: unknown): void
  /** Nothing is mounted any more, and the store is still ours. */
  leaving(): Promise<void>
}

/** A daemon, seen by the program that it runs in. */
export interface RunningDaemon {
  /**
   * Starts to serve and returns when it is ready and has looked around. What cannot be served at
   * all is told to the engine, which takes the mount away; a daemon that was started again just
   * ends, since a mount must not go because its daemon had a bad moment.
   */
  run(): Promise<void>
  readonly state: MountState
  /** Before it is ready: takes the mount away, tells whoever waits, and ends. */
  giveUp(error: unknown): Promise<void>
  /** Commits, unmounts and ends; before it is ready, as soon as it is. */
  drain(reason: string): void
}

export function createDaemon(parts: DaemonParts): RunningDaemon {
  return new Daemon(parts)
}

/** Objects that one request unlinks: a frame holds many more. */
const UNLINK_BATCH = 1000
/** Between two looks whether a full disk has room again. */
const FULL_DISK_RETRY_MS = 1000

class Daemon implements RunningDaemon {
  readonly #parts: DaemonParts
  readonly #started = Promise.withResolvers<Drain>()
  #drain: Drain | undefined
  #control: ControlServer | undefined
  #finishing = false
  /** The rows that the dirty log names are being deleted, on a disk that was full. */
  #forgetting: Promise<void> | undefined
  #untrustedRows = 0

  constructor(parts: DaemonParts) {
    this.#parts = parts
  }

  get state(): MountState {
    return this.#drain?.state ?? 'starting'
  }

  async run(): Promise<void> {
    this.#parts.engine.ended.then((error) => this.#engineEnded(error))
    try {
      await this.#start()
    } catch (error) {
      await this.giveUp(error)
    }
  }

  async giveUp(error: unknown): Promise<void> {
    const { engine, exit, logger, starter } = this.#parts
    if (this.#finishing) {
      return
    }
    this.#finishing = true
    const exitCode = error instanceof ModelcacheError ? (error.exitCode ?? 1) : 1
    logger.error('the mount cannot be served', { reason: messageOf(error), error })
    await starter?.leaving()
    // A keeper whose mount was served before goes on with it, and says this in its status.
    await engine.failed(exitCode, messageOf(error))
    starter?.failed(error)
    exit(exitCode)
  }

  drain(reason: string, unmounted = false): void {
    this.#started.promise.then((drain) => drain.fromKeeper(reason, unmounted))
  }

  async #start(): Promise<void> {
    const { clock, engine, hello, logger } = this.#parts
    const config = daemonConfigOf(hello.config)
    if (config.fault !== undefined && hello.restarts === 0) {
      armFault(config.fault, hello.keeperPid)
    }
    const paths = await checkStore(hello.store)
    const onFatal = (error: unknown) => this.#untrusted(services, error)
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
    this.#drain = drain
    engine.on(createHandlers(services, (reason, unmounted) => this.drain(reason, unmounted)))
    await this.#dropLeftOvers(services, leftOvers)
    await this.#adopt(services, config)
    if (hello.engine === 'none') {
      await this.#fetchAll(services)
    }

    const operations = createOperations({ hello, config, engine, services, drain, clock, logger })
    this.#control = new ControlServer(operations, logger)
    await this.#control.listen(paths.run)
    await this.#resumeShare(services)
    if (this.#finishing) {
      return
    }
    engine.ready()
    drain.serving()
    const { mountpoint, restarts } = hello
    logger.info('serving', { mountpoint, engine: hello.engine, restarts })
    this.#parts.starter?.ready()
    this.#started.resolve(drain)
    if (!hello.clean || hello.restarts > 0) {
      await scanTree({ ...services, engine, logger }, !hello.clean)
    }
    if (services.obeyed.since === undefined) {
      await this.#obeyNewRules(services)
    }
    if (services.car !== undefined) {
      await this.#takeOver(services, services.car.path)
    }
  }

  /** The file may be on a disk that is carried on: its bytes are brought in without being asked for. */
  async #takeOver(services: Services, path: string): Promise<void> {
    const { clock, logger } = this.#parts
    try {
      await fetchAll({ ...services, clock }, () => {})
      await forgetCar(services)
      logger.info('everything of the CAR file is here', { path })
    } catch (error) {
      if (!this.#finishing) {
        logger.warn('not everything of the CAR file is here yet', {
          path,
          reason: messageOf(error),
        })
      }
    }
  }

  /** Until there is a root without the names that are left out now, nothing is served. */
  async #obeyNewRules({ committer }: Services): Promise<void> {
    try {
      const { root } = await committer.commit()
      this.#parts.logger.info('committed under other rules for names', { root: root.toString() })
    } catch (error) {
      this.#parts.logger.warn('nothing is served until the next commit', {
        reason: messageOf(error),
      })
    }
  }

  /** The keeper is gone: nobody needs this process, and the next one recovers. */
  #engineEnded(error: Error | undefined): void {
    if (!this.#finishing) {
      this.#parts.logger.warn('the keeper is gone', { reason: error?.message ?? 'end of socket' })
      this.#parts.exit(error === undefined ? 0 : 1)
    }
  }

  /** Before the engine is listened to: nothing settles while table and objects are compared. */
  async #recover(services: Services): Promise<LeftOvers> {
    const { hello, logger } = this.#parts
    const { copied, database, orphans, paths } = services
    const unseen = await forgetUnseenRows(paths, database)
    const rows = unseen + (await forgetDirtyRows(paths, database))
    await emptyStaging(paths)
    await removeRestoreFolders(paths.tree)
    await orphans.load()
    const trusted = database.recovery === 'none' && !copied
    const sound = hello.clean && hello.restarts === 0 && trusted
    if (sound) {
      return { strayOids: [], nameless: [] }
    }
    const { recovery } = database
    const { clean, restarts } = hello
    logger.info('recovering', { clean, restarts, copied, rows, recovery })
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
    { car, log, network, nodes, paths, sources }: Services,
    config: DaemonConfig,
  ): Promise<void> {
    const { clock, engine, hello, logger } = this.#parts
    if (config.from === undefined) {
      return
    }
    if (config.car !== undefined) {
      await car?.copyNodes(nodes)
    }
    const root = await adoptRoot(config.from, {
      paths,
      log,
      getBlock: sources.getBlock,
      prepare: async () => (config.car === undefined ? network?.helia() : undefined),
      flush: () => nodes.flush(),
      clock,
      logger,
      deadlineMs: config.fetchDeadlineMs,
    })
    logger.debug('opened', { root: config.from, mountpoint: hello.mountpoint })
    engine.notifyInode(root)
  }

  /** Without an engine nobody is asked when a program reads: all bytes have to be there before. */
  async #fetchAll(services: Services): Promise<void> {
    const { clock, starter } = this.#parts
    await fetchAll({ ...services, clock }, (progress) => starter?.progress(progress))
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
    // The keeper has an exit code of its own.
    const exitCode = dirty === 0 || this.#parts.hello.engine === 'native' ? 0 : 3
    this.#end(services, dirty).then(
      () => this.#parts.exit(exitCode),
      (error: unknown) => this.#fatal(error),
    )
  }

  async #end(services: Services, dirty: number): Promise<void> {
    const { engine, logger, starter } = this.#parts
    await this.#control?.close()
    await this.#forgetting
    await closeServices(services)
    await removeIfThere(services.paths.share)
    await starter?.leaving()
    logger.info('done', { dirty })
    await engine.done(dirty)
  }

  /**
   * A row that must go could not be deleted. With a keeper this process ends, and the next one
   * deletes what the dirty log names. An engine in this process would take the mount with it, only
   * because the disk is full: then the same is done here, when there is room.
   */
  #untrusted(services: Services, error: unknown): void {
    if (this.#parts.hello.engine === 'native' || !isErrno(error, 'ENOSPC')) {
      this.#fatal(error)
      return
    }
    this.#parts.logger.error('no room to delete a row', { reason: messageOf(error) })
    this.#untrustedRows += 1
    this.#forgetting ??= this.#forgetWhenPossible(services)
      .catch((cause: unknown) => this.#fatal(cause))
      .finally(() => {
        this.#forgetting = undefined
      })
  }

  async #forgetWhenPossible({ database, paths }: Services): Promise<void> {
    const { clock, logger } = this.#parts
    while (this.#untrustedRows > 0 && !this.#finishing) {
      await delay(FULL_DISK_RETRY_MS, undefined, clock)
      const known = this.#untrustedRows
      try {
        const rows = this.#finishing ? 0 : await forgetDirtyRows(paths, database)
        // What failed meanwhile may not have been in the log yet: it is read once more.
        this.#untrustedRows -= known
        logger.info('there is room again', { rows })
      } catch (error) {
        if (!isErrno(error, 'ENOSPC')) {
          throw error
        }
      }
    }
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
