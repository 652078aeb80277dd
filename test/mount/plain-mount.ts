/** A real daemon without an engine, in this process: link, store, commits. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { CID } from 'multiformats/cid'
import { createLogger, systemClock } from '../../src/base/index.ts'
import { createNodeStore } from '../../src/blocks/index.ts'
import { createDaemon, type RunningDaemon } from '../../src/daemon/daemon.ts'
import { controlClient } from '../../src/daemon/index.ts'
import { listDirectory, statNode } from '../../src/dag/index.ts'
import { createPlainEngine, type LocalTree, openLocalTree } from '../../src/mount/index.ts'
import { createStore } from '../../src/tree/index.ts'
import { type CommitAnswer, daemonConfig } from '../daemon/fake-mount.ts'
import { tempDir, waitFor } from '../support/index.ts'

const RAW = 0x55
/** What the mountpoint is, and has to be again. */
const BEFORE = { mode: 0o750, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

export class PlainMount {
  readonly base: string
  readonly mountpoint: string
  readonly log: string[] = []
  /** Exit codes that the daemon asked for. */
  readonly exits: number[] = []
  #tree: LocalTree | undefined
  #daemon: RunningDaemon | undefined

  constructor(base: string) {
    this.base = base
    this.mountpoint = join(base, 'mnt')
  }

  get store(): string {
    return join(this.base, 'store')
  }

  get tree(): LocalTree {
    if (this.#tree === undefined) {
      throw new Error('it was not started')
    }
    return this.#tree
  }

  at(path: string): string {
    return join(this.mountpoint, path)
  }

  /** Returns when it serves, or has given up. */
  async start(config: Record<string, unknown> = {}): Promise<void> {
    const paths = await createStore(this.store)
    const logger = createLogger({ level: 'debug', write: (line) => this.log.push(line) })
    const tree = await openLocalTree(paths, { logger, clock: systemClock })
    this.#tree = tree
    const { mountpoint } = this
    this.#daemon = createDaemon({
      hello: {
        engine: 'none',
        keeperPid: process.pid,
        mountpoint,
        store: paths.store,
        readOnly: false,
        clean: tree.clean,
        restarts: 0,
        config: daemonConfig(config),
        passthrough: { active: false, reason: 'engine none' },
      },
      engine: createPlainEngine({ tree, mountpoint, before: BEFORE, logger, clock: systemClock }),
      clock: systemClock,
      logger,
      exit: (code) => this.exits.push(code),
    })
    await this.#daemon.run()
  }

  async commit(): Promise<CommitAnswer> {
    return (await controlClient(this.store).call('commit')) as CommitAnswer
  }

  async hashedBytes(): Promise<number> {
    const status = await controlClient(this.store).call('status')
    return (status as { settle: { hashedBytes: number } }).settle.hashedBytes
  }

  /** As a signal ends it; the exit code. */
  async drain(): Promise<number> {
    this.#daemon?.drain('test')
    return this.exited()
  }

  exited(): Promise<number> {
    return waitFor('the daemon to exit', () => this.exits[0])
  }

  /** Paths in a root, links with what they lead to. */
  async namesOf(tree: string): Promise<Map<string, string>> {
    const nodes = createNodeStore(join(this.store, 'nodes'))
    await nodes.open()
    const names = new Map<string, string>()
    const getBlock = (cid: CID) => nodes.getBytes(cid)
    const walk = async (cid: CID, path: string): Promise<void> => {
      for await (const entry of listDirectory(getBlock, cid)) {
        const child = path === '' ? entry.name : `${path}/${entry.name}`
        const stat = entry.cid.code === RAW ? undefined : await statNode(getBlock, entry.cid)
        names.set(child, stat?.target ?? '')
        if (stat?.type === 'd') {
          await walk(entry.cid, child)
        }
      }
    }
    await walk(CID.parse(tree), '')
    return names
  }
}

/** Over an empty mountpoint; it is drained when the test ends. */
export function plainMount(t: TestContext): PlainMount {
  const mount = new PlainMount(tempDir(t))
  mkdirSync(mount.mountpoint, { mode: BEFORE.mode })
  // The timers of the program keep no process alive.
  const alive = setInterval(() => undefined, 1000)
  t.after(async () => {
    try {
      if (mount.exits.length === 0) {
        await mount.drain()
      }
    } finally {
      clearInterval(alive)
    }
  })
  return mount
}
