import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openOfflineRoots } from '../clients/offline-roots.ts'
import { tcpRelay } from '../network/tcp-relay.ts'
import {
  type EngineName,
  FUSE_ENGINES,
  has,
  type Mount,
  modelcacheOk,
  tempDir,
  withMount,
} from '../support/index.ts'
import { assertClaims, assertSameFacts, type Phase, runPhase, type Trace } from './drive.ts'

/** What upstream components do to their cache directory: a program in `python/`. */
export interface Scenario {
  name: string
  /** Looked at from a second mount too. */
  elsewhere?: boolean
  /** A directory that is there, and committed, before; the scenario must publish nothing. */
  prepare?: string
  /** How often the scenario has the daemon killed, where the mount outlives its daemon. */
  restarts?: number
  /** What Kubo calls a directory that the scenario leaves. */
  golden?: { path: string; cid: string }
  /** Looks at the mount when the scenario has run. */
  afterRun?: (mount: Mount) => Promise<void>
  /** Looks at the second mount when it was looked through, and at how much came from the first. */
  afterSecond?: (mount: Mount, receivedBytes: number) => Promise<void>
  /** What must hold of every root that was committed, whenever that was. */
  everyRoot?: (root: CommittedRoot, run: Trace) => void
}

/** One root as its blocks say: the files by their paths, the names of everything else. */
export interface CommittedRoot {
  names: string[]
  /** SHA-256 of what a file holds. */
  digests: Map<string, string>
}

interface Oracle {
  run: Trace
  check: Trace
  second: Trace
}

/** A plain directory gives the same whichever engine it is compared with. */
const oracles = new Map<string, Promise<Oracle>>()

/**
 * Runs each on a plain directory, which is the oracle, and then on a mount of every engine; looks
 * again after unmount and mount; and at those marked `elsewhere` also from a second mount, with an
 * empty store, that opens the first one's root.
 */
export function testScenarios(scenarios: readonly Scenario[]): void {
  for (const engine of FUSE_ENGINES) {
    for (const scenario of scenarios) {
      test(`${engine}: ${scenario.name}`, async (t) => {
        if (has(t, 'fuse', 'python')) await runScenario(t, engine, scenario)
      })
    }
  }
}

async function runScenario(t: TestContext, engine: EngineName, scenario: Scenario): Promise<void> {
  const { name } = scenario
  const oracle = await oracleOf(t, scenario)
  const mount = await withMount(t, { engine })
  const root = mount.mountpoint
  mkdirSync(join(root, scenario.prepare ?? ''), { recursive: true })
  const before = scenario.prepare === undefined ? undefined : await mount.commitAll()
  const phase = phasesIn(scenario, mount, engine, join(tempDir(t), 'scratch'))
  const run = await phase('run')
  assertSameFacts(name, oracle.run, run)
  assertClaims(name, run)
  if (before !== undefined) {
    assert.equal((await mount.commitAll()).tree, before.tree, 'something was published')
  }
  if (scenario.restarts !== undefined) {
    const expected = outlivesItsDaemon(engine) ? scenario.restarts : 0
    assert.equal((await mount.status()).restarts, expected, 'restarts of the daemon')
  }
  if (scenario.golden !== undefined) {
    await mount.commitAll()
    const { path, cid } = scenario.golden
    const args = ['cid', join(root, path)]
    assert.equal(await modelcacheOk(args, { env: mount.env }), cid, "Kubo's CID")
  }
  await scenario.afterRun?.(mount)

  await mount.unmount()
  if (scenario.everyRoot !== undefined) await readEveryRoot(mount.store, run, scenario.everyRoot)
  await mount.mount()
  const check = await phase('check')
  const after = `${name} after unmount and mount`
  assertSameFacts(after, oracle.check, check)
  assertClaims(after, check)
  if (scenario.elsewhere === true) await lookElsewhere(t, engine, scenario, mount, oracle.second)
}

async function lookElsewhere(
  t: TestContext,
  engine: EngineName,
  scenario: Scenario,
  mount: Mount,
  oracle: Trace,
): Promise<void> {
  const { root } = await mount.commitAll()
  const relay = await tcpRelay(t, (await mount.share()).address)
  const other = await withMount(t, { engine, args: ['--from', root, '--peer', relay.address] })
  const second = await phasesIn(scenario, other, engine, join(tempDir(t), 'scratch'))('second')
  const there = `${scenario.name} on a second mount`
  assertSameFacts(there, oracle, second)
  assertClaims(there, second)
  await scenario.afterSecond?.(other, relay.passedBytes)
}

function phasesIn(
  { name }: Scenario,
  mount: Mount,
  engine: EngineName,
  scratch: string,
): (phase: Phase) => Promise<Trace> {
  const root = mount.mountpoint
  const onPause = (what: string) => actOn(mount, engine, what)
  return (phase) => runPhase(name, phase, root, scratch, onPause)
}

function oracleOf(t: TestContext, scenario: Scenario): Promise<Oracle> {
  const known = oracles.get(scenario.name)
  if (known !== undefined) return known
  const oracle = runOracle(t, scenario)
  oracles.set(scenario.name, oracle)
  return oracle
}

async function runOracle(t: TestContext, scenario: Scenario): Promise<Oracle> {
  const { name, prepare = '' } = scenario
  const base = tempDir(t)
  const root = join(base, 'plain')
  mkdirSync(join(root, prepare), { recursive: true })
  const onPause = async () => undefined
  const phase = (which: Phase) => runPhase(name, which, root, join(base, 'scratch'), onPause)
  return { run: await phase('run'), check: await phase('check'), second: await phase('second') }
}

/** The keeper holds the mount while daemons come and go; an engine inside the daemon goes with it. */
function outlivesItsDaemon(engine: EngineName): boolean {
  return engine === 'native'
}

async function actOn(mount: Mount, engine: EngineName, what: string): Promise<void> {
  if (what === 'commit') {
    await mount.commit()
  } else if (what === 'kill-daemon') {
    // Where the mount would end with it, the rest of the scenario is still worth running.
    if (outlivesItsDaemon(engine)) await mount.killDaemon()
  } else {
    throw new Error(`unknown pause ${what}`)
  }
}

async function readEveryRoot(
  store: string,
  run: Trace,
  look: NonNullable<Scenario['everyRoot']>,
): Promise<void> {
  const offline = await openOfflineRoots(store)
  try {
    assert.ok(offline.commits.length > 0, 'no root was committed')
    for (const { tree } of offline.commits) {
      const entries = await offline.walk(tree)
      const digests = new Map<string, string>()
      for (const { path, type, cid } of entries) {
        if (type === 'file') digests.set(path, (await offline.digestsOf(cid)).sha256)
      }
      look({ names: entries.map(({ path }) => path), digests }, run)
    }
  } finally {
    await offline.close()
  }
}
