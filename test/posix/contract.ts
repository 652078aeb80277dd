import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { tempDir } from '../support/index.ts'
import { actRows, type Pause, prepareRows, type Row, type RowResult, readTable } from './rows.ts'

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

/** A plain directory to act in, and what to take away afterwards. */
export interface Oracle {
  root: string
  release(): Promise<unknown>
}

/** One way into the product: an engine, and the state in which files are found. */
export interface WayIn {
  /** Rows can say that they do not apply to it (`not_on`), and claim more for it. */
  name: string
  /** Only rows that start from something: for ways that differ in what was there before. */
  preparedOnly?: boolean
  /** What this way is known not to keep, by row, with the reason; docs/semantics.md lists them. */
  exceptions?: Record<string, string>
  open(t: TestContext): Promise<Place>
  /** Makes of the prepared plain directory one that is like this way in, such as read-only. */
  oracle?(t: TestContext, plain: string): Promise<Oracle>
}

/** The section of rows that run in a read-only mount, and only there. */
const READ_ONLY = 'A read-only mount'

/** Rows that take longer are named, so that the table stays quick. */
const SLOW_MS = 3000

/**
 * The contract: every row of the table gives on the way in what it gives on a plain directory,
 * which is the oracle and run at the same time, on the same machine, by the same program.
 */
export async function runContract(t: TestContext, way: WayIn): Promise<void> {
  const base = tempDir(t, 'modelcache-posix-')
  const all = await readTable(base)
  const applies = ({ name, section, prepared, notOn }: Row) =>
    (section === READ_ONLY) === (way.name === 'read-only') &&
    !(way.name in notOn) &&
    !(name in (way.exceptions ?? {})) &&
    (prepared || way.preparedOnly !== true)
  const rows = all.filter(applies)
  const compared = rows.filter(({ notOn }) => !('plain' in notOn))

  const plain = join(base, 'plain/rows')
  mkdirSync(plain, { recursive: true })
  await prepareRows(plain, compared, base)
  const oracle = await actOnPlain(t, way, plain, compared, join(base, 'plain-scratch'))

  const place = await way.open(t)
  await prepareRows(place.root, rows, base)
  const root = await place.settle()
  const seen = await actRows(way.name, root, rows, join(base, 'scratch'), place.onPause)

  for (const { name, milliseconds } of seen.values()) {
    if (milliseconds > SLOW_MS) t.diagnostic(`${name}: ${milliseconds} ms`)
  }
  for (const { name, notOn } of rows) {
    await t.test(name, () => {
      const result = seen.get(name)
      assert.ok(result, 'it was not run')
      assertSound(result)
      if ('plain' in notOn) return
      const expected = oracle.get(name)
      assert.ok(expected, 'it was not run on the plain directory')
      assertSound(expected, 'on the plain directory: ')
      assertSameFacts(expected, result)
    })
  }
}

async function actOnPlain(
  t: TestContext,
  way: WayIn,
  plain: string,
  rows: Row[],
  scratch: string,
): Promise<Map<string, RowResult>> {
  const place = (await way.oracle?.(t, plain)) ?? { root: plain, release: nothing }
  try {
    return await actRows('plain', place.root, rows, scratch, nothing)
  } finally {
    await place.release()
  }
}

async function nothing(): Promise<void> {}

/** It came to its end, and what it claims holds. */
function assertSound({ failure, claims }: RowResult, where = ''): void {
  assert.equal(failure, null, `${where}${failure}`)
  const broken = claims.filter(([, holds]) => !holds).map(([claim]) => claim)
  assert.deepEqual(broken, [], `${where}not held`)
}

/** Fails with the facts that differ, side by side. */
function assertSameFacts(oracle: RowResult, result: RowResult): void {
  const length = Math.max(oracle.facts.length, result.facts.length)
  const differences: string[] = []
  for (let index = 0; index < length; index += 1) {
    const expected = JSON.stringify(oracle.facts[index])
    const got = JSON.stringify(result.facts[index])
    if (expected !== got) differences.push(`  plain: ${expected}\n  here:  ${got}`)
  }
  assert.equal(differences.length, 0, `\n${differences.slice(0, 30).join('\n')}`)
}
