import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describeCommit, describeMachine, withLoad } from './machine.ts'
import { STEPS, type Step } from './measures.ts'
import type { BenchResult, Sample, Sizes, WayFacts } from './result.ts'
import { MissingWay, type OpenWay, type Probed, type Way } from './way.ts'

export interface Plan {
  ways: readonly Way[]
  /** A new directory on a real disk; everything is made below it. */
  place: string
  sizes: Sizes
  rounds: number
  /** Ends the run between two steps; all that is open is closed. */
  signal: AbortSignal
}

type Opened = { way: Way; open: OpenWay }

const say = (line: string) => process.stderr.write(`bench: ${line}\n`)

/**
 * Opens all ways, then measures them step by step side by side: each step on every way before the
 * next, so that what else the machine does falls on all of them alike.
 */
export async function measureAll(plan: Plan): Promise<BenchResult> {
  const begun = performance.now()
  const machine = await describeMachine(plan.place)
  const commit = await describeCommit()
  // An ordinary user must be able to pass through it.
  chmodSync(plan.place, 0o711)
  const opened: Opened[] = []
  const facts: WayFacts[] = []
  const samples: Sample[] = []
  try {
    for (const way of plan.ways) {
      facts.push(await openInto(opened, way, plan))
    }
    for (let round = 1; round <= plan.rounds; round += 1) {
      say(`round ${round} of ${plan.rounds}`)
      await measureRound(opened, plan, round, samples)
    }
  } finally {
    await closeAll(opened)
  }
  return {
    version: 1,
    date: new Date().toISOString(),
    commit,
    minutes: Math.round((performance.now() - begun) / 6_000) / 10,
    rounds: plan.rounds,
    sizes: plan.sizes,
    machine: withLoad(machine),
    ways: facts,
    samples,
  }
}

async function openInto(opened: Opened[], way: Way, plan: Plan): Promise<WayFacts> {
  plan.signal.throwIfAborted()
  const base = join(plan.place, way.id)
  mkdirSync(base)
  const { id, title } = way
  try {
    const open = await way.open(base)
    opened.push({ way, open })
    await open.probe('prepare', plan.sizes)
    await open.commit?.()
    say(`${title}: ${open.detail}`)
    return { id, title, state: 'measured', detail: open.detail }
  } catch (error) {
    if (!(error instanceof MissingWay)) throw error
    say(`${title}: skipped: ${error.message}`)
    return { id, title, state: 'missing', detail: error.message }
  }
}

async function measureRound(
  opened: Opened[],
  plan: Plan,
  round: number,
  samples: Sample[],
): Promise<void> {
  // Each round begins with another way: nobody is always the first after a pause.
  const first = (round - 1) % Math.max(opened.length, 1)
  const order = [...opened.slice(first), ...opened.slice(0, first)]
  for (const step of STEPS) {
    for (const { way, open } of order) {
      plan.signal.throwIfAborted()
      const probed = await measureStep(open, step, plan.sizes)
      samples.push(...probed.map((one) => ({ way: way.id, round, ...one })))
    }
  }
}

async function measureStep(open: OpenWay, step: Step, sizes: Sizes): Promise<Probed[]> {
  const probed = await open.probe(step.name, sizes)
  if (step.commits) {
    probed.push(...(await commitOrHash(open, sizes)))
  }
  if (step.changes) {
    await open.commit?.()
  }
  return probed
}

/** From the start of the command to its answer, as a user waits for it. */
async function commitOrHash(open: OpenWay, sizes: Sizes): Promise<Probed[]> {
  if (open.commit === undefined) {
    return open.probe('hash', sizes)
  }
  const begun = performance.now()
  await open.commit()
  const seconds = (performance.now() - begun) / 1_000
  return [{ measure: 'commit', seconds, amount: sizes.mib * 2 ** 20, unit: 'B' }]
}

/** Closes all, the last first, and fails with the first that could not be closed. */
async function closeAll(opened: Opened[]): Promise<void> {
  const failures: unknown[] = []
  for (const { open } of opened.reverse()) {
    await open.close().catch((error: unknown) => failures.push(error))
  }
  if (failures.length > 0) throw failures[0]
}
