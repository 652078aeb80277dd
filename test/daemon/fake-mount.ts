/** The real daemon, started as the keeper starts it, with a fake keeper at the other end. */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { controlClient } from '../../src/daemon/index.ts'
import { createStore, type StorePaths } from '../../src/tree/index.ts'
import { FakeKeeper, type FakeKeeperOptions } from '../mount/fake-keeper.ts'
import { tempDir } from '../support/index.ts'

export interface CommitAnswer {
  root: string
  tree: string
  dirty: number
  open: { path: string; reason: string }[]
  withheld: { path: string; reason: string }[]
  changed: boolean
}

const MAIN = fileURLToPath(new URL('../../src/daemon/main.ts', import.meta.url))

export class FakeMount {
  readonly keeper: FakeKeeper
  readonly paths: StorePaths
  readonly #child: ChildProcess
  readonly #exit: Promise<number | null>
  #log = ''

  constructor(child: ChildProcess, keeper: FakeKeeper, paths: StorePaths) {
    this.keeper = keeper
    this.paths = paths
    this.#child = child
    this.#exit = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What the daemon wrote, line by line. */
  get log(): string[] {
    return this.#log.split('\n')
  }

  get exit(): Promise<number | null> {
    return this.#exit
  }

  call(op: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return controlClient(this.paths.store).call(op, args)
  }

  async commit(): Promise<CommitAnswer> {
    return (await this.call('commit')) as CommitAnswer
  }

  /** Ends as a signal ends it, and waits. */
  drain(unmounted = false): Promise<number | null> {
    this.keeper.drain('test', unmounted)
    return this.#exit
  }

  /** kill -9 of the daemon. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exit
    this.keeper.close()
  }
}

export const OPEN_GATE = { open: true, by: 'test' }
export const CLOSED_GATE = { open: false, by: 'CI=1' }

export function daemonConfig(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    gate: CLOSED_GATE,
    peers: [],
    readOnly: false,
    fetchDeadlineMs: 2000,
    version: 'test',
    ...fields,
  }
}

export interface FakeMountOptions extends FakeKeeperOptions {
  /** A store to go on with; a new one without. */
  store?: string
  /** Does not wait until the daemon is ready. */
  early?: boolean
}

/** Starts a daemon; it and its keeper end with the test. */
export async function fakeMount(
  t: TestContext,
  options: FakeMountOptions = {},
): Promise<FakeMount> {
  const paths = await createStore(options.store ?? `${tempDir(t)}/store`)
  const child = spawn(process.execPath, [MAIN], {
    cwd: paths.store,
    env: { PATH: process.env.PATH ?? '', HOME: paths.store, MODELCACHE_LOG: 'debug' },
    stdio: ['ignore', 'inherit', 'pipe', 'pipe'],
  })
  const socket = child.stdio[3] as Duplex
  const keeper = new FakeKeeper(socket, paths, { config: daemonConfig(), ...options })
  const mount = new FakeMount(child, keeper, paths)
  t.after(async () => {
    child.kill('SIGKILL')
    await mount.exit
    keeper.close()
  })
  if (options.early !== true) {
    const died = mount.exit.then((code) => {
      throw new Error(`the daemon ended with ${code}: ${mount.log.join('\n')}`)
    })
    await Promise.race([keeper.ready.promise, died])
    died.catch(() => {})
  }
  keeper.ready.promise.catch(() => {})
  return mount
}
