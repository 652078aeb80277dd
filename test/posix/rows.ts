import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { repositoryRoot, runOk, scrubbedEnvironment, start } from '../support/index.ts'

/** One row of the table of behaviours: see test/posix/python/registry.py. */
export interface Row {
  name: string
  section: string
  says: string
  /** It starts from files that were there before: made here and settled, or remote. */
  prepared: boolean
  /** Name of a way in -> why the row says nothing about it. */
  notOn: Record<string, string>
}

/** What one row saw. */
export interface RowResult {
  name: string
  milliseconds: number
  /** Must be those of a plain directory. */
  facts: [string, unknown][]
  /** Must hold by themselves. */
  claims: [string, boolean][]
  /** The traceback of a row that did not come to its end. */
  failure: string | null
}

/** What rows ask for while they run; see `Trace.pause`. */
export type Pause = 'commit' | 'commit-all' | 'kill-daemon'

/** The section of rows that run in a read-only mount, and only there. */
export const READ_ONLY = 'A read-only mount'

const MAIN = join(repositoryRoot, 'test/posix/python/main.py')

/** Generous for the whole table: each row has its own deadline in main.py. */
const TABLE_DEADLINE_MS = 600_000

/** The table, as the Python side declares it. */
export async function readTable(scratch: string): Promise<Row[]> {
  const env = environmentOf(scratch)
  const { stdout } = await runOk('python3', ['-B', MAIN, 'list'], { env })
  return JSON.parse(stdout) as Row[]
}

/** Makes below `root` what the rows find there. */
export async function prepareRows(root: string, rows: Row[], scratch: string): Promise<void> {
  const env = environmentOf(scratch)
  mkdirSync(root, { recursive: true })
  await runOk('python3', ['-B', MAIN, 'prepare', root, ...rows.map(({ name }) => name)], { env })
}

/** Runs the rows below `root`, one after the other, doing for them what they pause for. */
export async function actRows(
  way: string,
  root: string,
  rows: Row[],
  scratch: string,
  onPause: (what: Pause) => Promise<void>,
): Promise<Map<string, RowResult>> {
  mkdirSync(root, { recursive: true })
  mkdirSync(scratch, { recursive: true })
  const names = rows.map(({ name }) => name)
  const running = start('python3', ['-B', MAIN, 'act', root, scratch, way, ...names], {
    env: environmentOf(scratch),
    interactive: true,
    deadlineMs: TABLE_DEADLINE_MS,
  })
  const results = new Map<string, RowResult>()
  let failed: unknown
  const lines = createInterface({ input: running.child.stdout })
  lines.on('line', (line) => {
    if (!line.startsWith('PAUSE ')) {
      const result = JSON.parse(line) as RowResult
      results.set(result.name, result)
      return
    }
    onPause(line.slice(6) as Pause).then(
      () => running.child.stdin.write('go\n'),
      (error: unknown) => {
        failed = error
        running.child.stdin.end()
      },
    )
  })
  const { code, stderr } = await running.finished
  if (failed !== undefined) throw failed
  assert.equal(code, 0, `the rows ended with ${code}:\n${stderr}`)
  return results
}

function environmentOf(scratch: string): Record<string, string> {
  const long = process.env.MODELCACHE_TEST_LONG
  return scrubbedEnvironment(
    join(scratch, 'home'),
    long === undefined ? {} : { MODELCACHE_TEST_LONG: long },
  )
}
