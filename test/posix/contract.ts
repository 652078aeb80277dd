import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { tempDir } from '../support/index.ts'
import { assertFacts, assertSound, type Exemptions } from './exempt.ts'
import { type Disguise, oracleOf } from './oracle.ts'
import {
  actRows,
  type Pause,
  prepareRows,
  READ_ONLY,
  type Row,
  type RowResult,
  readTable,
} from './rows.ts'

/** A place that behaves like a directory, in which the rows run. */
export interface Place {
  /** Below this the rows make what they find there later. */
  root: string
  /**
   * Called between making and acting; gives the directory to act in, the same or another (such
   * as a second mount of what was made in the first).
   */
  settle(): Promise<string>
  /** Does what a row pauses for. */
  onPause(what: Pause): Promise<void>
}

/** One way into the product: an engine, and the state in which files are found. */
export interface WayIn {
  /** Rows can say that they do not apply to it (`not_on`), and claim more for it. */
  name: string
  /** Only rows that start from something: for ways that differ in what was there before. */
  preparedOnly?: boolean
  /** What this way in is known not to keep, and what it answers; docs/semantics.md lists it. */
  exempt?: Exemptions
  open(t: TestContext): Promise<Place>
  /** Makes of the prepared plain directory one that is like this way in, such as read-only. */
  oracle?: Disguise
}

/** Rows that take longer are named, so that the table stays quick. */
const SLOW_MS = 3000

/** What was seen of a way in, and what a plain directory gave; plain data. */
export interface Observed {
  rows: Row[]
  oracle: [string, RowResult][]
  seen: [string, RowResult][]
}

/**
 * The contract: every row of the table gives on the way in what it gives on a plain directory,
 * which is the oracle, run on the same machine by the same program; or what an exemption names.
 */
export async function runContract(t: TestContext, way: WayIn): Promise<void> {
  await judge(t, await observe(t, way), way.exempt)
}

/** Runs the rows on the plain directory and on the way in. */
export async function observe(t: TestContext, way: WayIn): Promise<Observed> {
  const base = tempDir(t, 'modelcache-posix-')
  const rows = (await readTable(base)).filter((row) => appliesTo(row, way))
  const oracle = await oracleOf(way.oracle)
  const place = await way.open(t)
  await prepareRows(place.root, rows, base)
  const root = await place.settle()
  const seen = await actRows(way.name, root, rows, join(base, 'scratch'), place.onPause)
  return { rows, oracle: [...oracle], seen: [...seen] }
}

/** A test of each row. */
export async function judge(
  t: TestContext,
  observed: Observed,
  exemptions: Exemptions = { rows: {} },
): Promise<void> {
  const [oracle, seen] = [new Map(observed.oracle), new Map(observed.seen)]
  for (const { name, milliseconds } of seen.values()) {
    if (milliseconds > SLOW_MS) t.diagnostic(`${name}: ${milliseconds} ms`)
  }
  for (const { name, notOn } of observed.rows) {
    await t.test(name, () => {
      const result = seen.get(name)
      assert.ok(result, 'it was not run')
      const exempt = exemptions.rows[name]
      assertSound(result, '', exempt)
      if ('plain' in notOn) return
      const expected = oracle.get(name)
      assert.ok(expected, 'it was not run on the plain directory')
      assertSound(expected, 'on the plain directory: ')
      assertFacts(expected, result, exempt, exemptions.countsOurLinks !== undefined)
    })
  }
}

function appliesTo({ section, prepared, notOn }: Row, way: WayIn): boolean {
  return (
    (section === READ_ONLY) === (way.name === 'read-only') &&
    !(way.name in notOn) &&
    (prepared || way.preparedOnly !== true)
  )
}
