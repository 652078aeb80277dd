import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { MountStatus } from '../../src/cli/mount-status.ts'
import {
  type EngineName,
  type Finished,
  isAlive,
  mountpointsBelow,
  run,
  waitFor,
} from '../support/index.ts'
import { type Shell, shell } from './command.ts'

/** A shell in whose folder `m` is a mountpoint and `s` its store; all is taken away at the end. */
export interface LiveShell extends Shell {
  readonly mountpoint: string
  readonly store: string
  /** Mounts `m` on `s` with the engine of this shell; fails the test if that fails. */
  mount(...words: string[]): Promise<Finished>
  /** Whether `m` is a mount now, of FUSE or without an engine. */
  isMounted(): boolean
  status(): Promise<MountStatus>
  /** SIGKILL to the keeper, then to its daemon if that has not followed. */
  crash(): Promise<MountStatus>
}

/**
 * @param name - of the mountpoint, below the test's folder
 * @param engine - without it `auto`
 */
export function liveShell(t: TestContext, name = 'm', engine?: EngineName): LiveShell {
  const base = shell(t, cleanUp)
  const mountpoint = join(base.base, name)
  const store = join(base.base, 's')
  mkdirSync(mountpoint, { recursive: true })
  const pids = new Set<number>()

  async function status(): Promise<MountStatus> {
    const { stdout, stderr } = await base.run(['status', mountpoint, '--json'])
    if (stdout === '') {
      throw new Error(`status: ${stderr}`)
    }
    const facts = JSON.parse(stdout) as MountStatus
    pids.add(facts.pid).add(facts.keeperPid)
    return facts
  }

  async function mount(...words: string[]): Promise<Finished> {
    const wish = engine === undefined ? [] : ['--engine', engine]
    const result = await base.run(['mount', mountpoint, '--store', store, ...wish, ...words])
    if (result.code !== 0) {
      throw new Error(`mount: exit ${result.code}: ${result.stderr}${logOf(store)}`)
    }
    await status()
    return result
  }

  async function crash(): Promise<MountStatus> {
    const facts = await status()
    for (const pid of [facts.keeperPid, facts.pid]) {
      kill(pid)
    }
    await waitFor('both to die', () => !isAlive(facts.keeperPid) && !isAlive(facts.pid))
    return facts
  }

  /** Whatever the test left: its mounts lazily, its processes by their pids. */
  async function cleanUp(): Promise<void> {
    // Node 22 has it and its types do not: https://nodejs.org/docs/latest-v22.x/api/test.html
    if ('passed' in t && t.passed === false) {
      tellLogs(t, base.base)
    }
    for (const path of mountpointsBelow(base.base).reverse()) {
      await run('umount', ['-l', path], { env: base.env })
    }
    for (const pid of pids) {
      if (pid > 0 && isAlive(pid)) {
        kill(pid)
      }
    }
    await waitFor('all processes to end', () => [...pids].every((pid) => !isAlive(pid)))
  }

  const isMounted = () =>
    mountpointsBelow(mountpoint).length > 0 ||
    lstatSync(mountpoint, { throwIfNoEntry: false })?.isSymbolicLink() === true

  return { ...base, mountpoint, store, mount, status, crash, isMounted }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) {
      throw error
    }
  }
}

/** The last lines of every log: the folder is gone when somebody reads that the test failed. */
function tellLogs(t: TestContext, folder: string): void {
  for (const store of readdirSync(folder)) {
    for (const name of ['keeper.log', 'daemon.log']) {
      const log = join(folder, store, 'log', name)
      if (existsSync(log)) {
        const lines = readFileSync(log, 'utf8').trimEnd().split('\n').slice(-15)
        t.diagnostic(`${store} ${name}:\n${lines.join('\n')}`)
      }
    }
  }
}

function logOf(store: string): string {
  const log = join(store, 'log/keeper.log')
  return existsSync(log) ? `; see ${log}` : ''
}
