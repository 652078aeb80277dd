import { lstatSync, mkdirSync, readFileSync, readlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { scrubbedEnvironment } from './environment.ts'
import { modelcache, modelcacheJson, modelcacheOk } from './modelcache.ts'
import { isAlive, runOk } from './process.ts'
import { makeTempDir, mountpointsBelow, removeTempDir } from './temp-dir.ts'
import { waitFor } from './wait-for.ts'

/** The fields of `status --json` that tests read; docs/configuration.md has them all. */
export interface MountStatus {
  mountpoint: string
  store: string
  pid: number
  keeperPid: number
  restarts: number
  state: string
  engine: EngineName
  lost: string[]
  passthrough: { active: boolean; reason: string }
  gate: { open: boolean; by: string }
  root: { cid: string; committedAt: string }
  dirty: { files: number; bytes: number; oldestSeconds: number; open: number }
  withheld: { path: string; reason: string }[]
  tree: {
    files: number
    bytes: number
    placeholders: number
    missingBytes: number
    unlistedDirectories: number
  }
  store_usage: { treeBytes: number; blockBytes: number; indexBytes: number }
  settle: { hashedBytes: number }
  hydrate: { active: number; bytes: number; errors: number }
  served: { reads: number; readBytes: number; writes: number; passthroughOpens: number }
  network: { listening: string[]; peers: number; shares: unknown[] }
  /** Why the answer is the keeper's alone. */
  partial?: string
}

/** The answer of `commit --json`. */
export interface CommitAnswer {
  root: string
  tree: string
  dirty: number
  open: unknown[]
}

/** What can serve a mount; design: docs/architecture.md. */
export type EngineName = 'native' | 'fuse-native' | 'none'

/** The engines that make a real FUSE mount: what clients do is tested on each. */
export const FUSE_ENGINES = ['native', 'fuse-native'] as const satisfies readonly EngineName[]

export interface MountOptions {
  /** Which engine; without it `auto`, which takes the keeper where it is built. */
  engine?: EngineName
  /** Further arguments of `modelcache mount`. */
  args?: string[]
  /** Variables over the scrubbed environment, such as `CI=1`. */
  env?: Record<string, string>
  /** Where the store is, or is to be made; without it in the mount's own temporary directory. */
  store?: string
  /** `MODELCACHE_FAULT` of the first mount alone, which may fail by it. */
  fault?: string
}

/** One mount of a test, with its store, in a temporary directory of its own. */
export interface Mount {
  readonly mountpoint: string
  readonly store: string
  /** The scrubbed environment that the mount was made with. */
  readonly env: Record<string, string>
  status(): Promise<MountStatus>
  commit(): Promise<CommitAnswer>
  /** Commits until nothing is open or dirty; fails after a deadline, naming what is left. */
  commitAll(): Promise<CommitAnswer>
  share(): Promise<{ name: string; address: string; addresses: string[] }>
  /** `modelcache unmount`, and looks that mount and processes are gone. */
  unmount(): Promise<void>
  /** Mounts the same store at the same place again. */
  mount(args?: string[]): Promise<void>
  /**
   * SIGKILL to the daemon alone, and waits until it is gone; the keeper starts another. Of an
   * engine in the daemon the mount dies with it and is mounted again, as its user would: what
   * programs had open is lost to them.
   */
  killDaemon(): Promise<void>
  /**
   * SIGKILL to every process of the mount. What is left is for the next `mount` to repair: a dead
   * FUSE mount, or a link to a tree that still works.
   */
  crash(): Promise<void>
}

/** Mounting starts Node, a database and the keeper; a busy machine of two cores needs room. */
const MOUNT_DEADLINE_MS = 60_000

/** Makes a mount that is unmounted, and verified gone, when the test ends, however it ends. */
export async function withMount(t: TestContext, options: MountOptions = {}): Promise<Mount> {
  const base = makeTempDir('modelcache-mount-')
  const mountpoint = join(base, 'model_cache')
  const store = options.store ?? join(base, 'store')
  mkdirSync(mountpoint)
  const env = scrubbedEnvironment(join(base, 'home'), options.env)
  const run = { env, cwd: base, deadlineMs: MOUNT_DEADLINE_MS }
  const pids = new Set<number>()

  const status = async () => {
    const answer = await modelcacheJson<MountStatus | MountStatus[]>(['status', mountpoint], run)
    const one = Array.isArray(answer) ? answer[0] : answer
    if (one === undefined) throw new Error(`status ${mountpoint}: no such mount`)
    for (const pid of [one.pid, one.keeperPid]) if (pid > 0) pids.add(pid)
    return one
  }
  const mount = async (args = options.args ?? []) => {
    const engine = options.engine === undefined ? [] : ['--engine', options.engine]
    await modelcacheOk(['mount', mountpoint, '--store', store, ...engine, ...args], run)
    await status()
  }
  const mountWithFault = async (fault: string) => {
    const engine = options.engine === undefined ? [] : ['--engine', options.engine]
    const words = ['mount', mountpoint, '--store', store, ...engine, ...(options.args ?? [])]
    const { code } = await modelcache(words, { ...run, env: { ...env, MODELCACHE_FAULT: fault } })
    // Whoever holds it has to be known for the end of the test, dead or alive.
    if (code === 0) await status().catch(() => undefined)
  }
  const unmount = async () => {
    if (isMounted(mountpoint)) await status()
    await modelcacheOk(['unmount', mountpoint, '--timeout', '60'], { ...run, deadlineMs: 90_000 })
    await verifyGone(mountpoint, pids)
  }
  const commit = () => modelcacheJson<CommitAnswer>(['commit', mountpoint], run)
  const crash = async () => {
    const { pid, keeperPid } = await status()
    for (const victim of [keeperPid, pid]) killIfAlive(victim)
    await waitFor('keeper and daemon to die', () => !isAlive(pid) && !isAlive(keeperPid))
  }

  // One hook for both: the directory can only go when the mount has gone.
  t.after(async () => {
    await cleanUp(mountpoint, store, pids, run)
    await removeTempDir(base)
  })
  await (options.fault === undefined ? mount() : mountWithFault(options.fault))
  return {
    mountpoint,
    store,
    env,
    status,
    commit,
    commitAll: () => commitAll(commit),
    share: () => modelcacheJson(['share', mountpoint], run),
    unmount,
    mount,
    killDaemon: async () => {
      const { pid, engine } = await waitFor('a daemon to kill', async () => {
        const now = await status()
        return now.pid > 0 && isAlive(now.pid) ? now : undefined
      })
      killIfAlive(pid)
      await waitFor(`the daemon ${pid} to die`, () => !isAlive(pid))
      if (engine !== 'native') await mount()
    },
    crash,
  }
}

/** Commits until the answer has neither open nor dirty files. */
async function commitAll(commit: () => Promise<CommitAnswer>): Promise<CommitAnswer> {
  let last: CommitAnswer | undefined
  try {
    return await waitFor('everything to be committed', async () => {
      last = await commit()
      return last.dirty === 0 && last.open.length === 0 ? last : undefined
    })
  } catch (error) {
    throw new Error(`not committed: ${JSON.stringify(last)}`, { cause: error })
  }
}

/** By the kernel, or as the link of a mount without an engine. */
function isMounted(mountpoint: string): boolean {
  return mountpointsBelow(mountpoint).length > 0 || isLink(mountpoint)
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
}

async function verifyGone(mountpoint: string, pids: Set<number>): Promise<void> {
  await waitFor('the mount to be gone', () => !isMounted(mountpoint))
  await waitFor(`the processes ${[...pids].join(', ')} to be gone`, () =>
    [...pids].every((pid) => !isAlive(pid)),
  )
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/**
 * The end of a test, also of a failed one: asks for an orderly unmount, then takes away by force
 * what is left of this mount and of these processes, and only of these.
 */
async function cleanUp(
  mountpoint: string,
  store: string,
  pids: Set<number>,
  run: { env: Record<string, string>; cwd: string; deadlineMs: number },
): Promise<void> {
  // Of a dead FUSE mount stat fails: the table of mounts is asked first.
  if (isMounted(mountpoint)) {
    await modelcache(['unmount', mountpoint, '--timeout', '20'], run).catch(() => undefined)
  }
  for (const pid of pids) if (isAlive(pid) && servesStore(pid, store)) killIfAlive(pid)
  for (const path of mountpointsBelow(mountpoint).reverse()) {
    await runOk('umount', ['-l', path], { env: run.env })
  }
  if (isLink(mountpoint)) unlinkSync(mountpoint)
  await verifyGone(mountpoint, pids)
}

/** Guards against a pid that was given to somebody else: ours work in the store, or name it. */
function servesStore(pid: number, store: string): boolean {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    return readlinkSync(`/proc/${pid}/cwd`) === store || command.includes(store)
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}
