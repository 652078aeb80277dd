import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  type CommitAnswer,
  isAlive,
  launcherPath,
  type MountStatus,
  mountpointsBelow,
  nodePath,
  repositoryRoot,
  run,
  runOk,
  scrubbedEnvironment,
  waitFor,
} from '../support/index.ts'
import { servedKeeper } from '../support/served-keeper.ts'
import { provideBindfs } from './bindfs.ts'
import { becomeOrdinaryUser } from './ordinary-user.ts'
import { pythonPrefix } from './python.ts'
import {
  type Caller,
  MissingWay,
  type OpenWay,
  type Probed,
  STEP_DEADLINE_MS,
  type Way,
} from './way.ts'

/** The plain directory comes first: all others are compared with it. */
export const WAYS: readonly Way[] = [
  { id: 'plain', title: 'plain directory', open: openPlain },
  modelcacheWay('native', 'native', 'native', ownCaller),
  modelcacheWay('served', 'native, no passthrough', 'native', (base) =>
    ownCaller(base, { MODELCACHE_KEEPER: servedKeeper(base) }),
  ),
  modelcacheWay('user', 'native, ordinary user', 'native', becomeOrdinaryUser),
  modelcacheWay('fuse-native', 'fuse-native', 'fuse-native', ownCaller),
  { id: 'bindfs', title: 'bindfs', open: openBindfs },
]

async function ownCaller(base: string, extra: Record<string, string> = {}): Promise<Caller> {
  const env = scrubbedEnvironment(join(base, 'home'), extra)
  return {
    run: (command, args) => run(command, args, { env, deadlineMs: STEP_DEADLINE_MS }),
    repository: repositoryRoot,
    python: join(await pythonPrefix(), 'bin/python3'),
    modelcache: [nodePath(), launcherPath()],
    close: async () => undefined,
  }
}

async function must(caller: Caller, command: string, args: string[]): Promise<string> {
  const { code, signal, stdout, stderr } = await caller.run(command, args)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit ${code ?? signal}\n${stderr}`)
  return stdout
}

function prober(caller: Caller, directory: string, backing: string): OpenWay['probe'] {
  return async (step, sizes) => {
    const place = JSON.stringify({ ...sizes, directory, backing })
    const program = join(caller.repository, 'test/bench/probe.py')
    const samples: Probed[] = JSON.parse(await must(caller, caller.python, [program, step, place]))
    return samples
  }
}

async function openPlain(base: string): Promise<OpenWay> {
  const directory = join(base, 'plain')
  mkdirSync(directory)
  const probe = prober(await ownCaller(base), directory, directory)
  return { detail: 'the directory itself', probe, close: async () => undefined }
}

async function openBindfs(base: string): Promise<OpenWay> {
  const version = await provideBindfs()
  if (version.missing !== undefined) throw new MissingWay(version.missing)
  const [backing, directory] = [join(base, 'backing'), join(base, 'bindfs')]
  for (const path of [backing, directory]) mkdirSync(path)
  const caller = await ownCaller(base)
  await must(caller, 'bindfs', [backing, directory])
  const close = async () => {
    await must(caller, 'umount', [directory])
  }
  return {
    detail: `${version.name}, its defaults`,
    probe: prober(caller, directory, backing),
    close,
  }
}

function modelcacheWay(
  id: string,
  title: string,
  engine: string,
  callerIn: (base: string) => Promise<Caller>,
): Way {
  const open = async (base: string) => {
    const caller = await callerIn(base)
    try {
      return await openMount(caller, base, engine)
    } catch (error) {
      await caller.close()
      throw error
    }
  }
  return { id, title, open }
}

/** Exit codes of `mount` for an engine that this version or this machine has not got. */
const NO_SUCH_ENGINE = new Set([2, 5])

async function openMount(caller: Caller, base: string, engine: string): Promise<OpenWay> {
  // Below the home: that belongs to whoever calls.
  const [directory, store] = [join(base, 'home/m'), join(base, 'home/s')]
  const [node, launcher] = caller.modelcache
  const modelcache = (...words: string[]) => must(caller, node, [launcher, ...words])
  await must(caller, 'mkdir', [directory])
  const words = ['mount', directory, '--store', store, '--engine', engine]
  const { code, stderr } = await caller.run(node, [launcher, ...words])
  if (NO_SUCH_ENGINE.has(code ?? 0)) throw new MissingWay(stderr.trim())
  if (code !== 0) throw new Error(`mount --engine ${engine}: exit ${code}\n${stderr}`)
  const answer: MountStatus | MountStatus[] = JSON.parse(
    await modelcache('status', directory, '--json'),
  )
  const status = [answer].flat()[0]
  if (status === undefined) throw new Error(`status ${directory}: no such mount`)
  return {
    detail: describe(status),
    probe: prober(caller, directory, join(store, 'tree')),
    commit: async () => {
      await waitFor('everything to be committed', async () => {
        const now: CommitAnswer = JSON.parse(await modelcache('commit', directory, '--json'))
        return now.dirty === 0 && now.open.length === 0
      })
    },
    close: async () => {
      try {
        await modelcache('unmount', directory, '--timeout', '60')
      } finally {
        await takeAway(directory, [status.pid, status.keeperPid])
        await caller.close()
      }
    },
  }
}

function describe({ engine, passthrough }: MountStatus): string {
  return `${engine}, passthrough ${passthrough.active ? 'on' : `off: ${passthrough.reason}`}`
}

/** After an unmount that failed, too: nothing of the run may stay. */
async function takeAway(directory: string, pids: number[]): Promise<void> {
  for (const path of mountpointsBelow(directory)) {
    await runOk('umount', ['-l', path], { env: { PATH: process.env.PATH ?? '' } })
  }
  const gone = () => pids.every((pid) => pid <= 0 || !isAlive(pid))
  await waitFor(`the processes ${pids.join(', ')} to be gone`, gone)
}
