import assert from 'node:assert/strict'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { repositoryRoot, scrubbedEnvironment, start } from '../support/index.ts'

/** What one phase of a scenario saw: see test/scenarios/python/trace.py. */
export interface Trace {
  facts: [string, unknown][]
  claims: [string, boolean][]
}

export type Phase = 'run' | 'check' | 'second'

/** Called when the scenario pauses: `kill-daemon` or `commit`. */
export type OnPause = (what: string) => Promise<void>

/** The programs take larger numbers in the long run, as the tests do. */
const LONG: Record<string, string> =
  process.env.MODELCACHE_TEST_LONG === '1' ? { MODELCACHE_TEST_LONG: '1' } : {}

const MAIN = join(repositoryRoot, 'test/scenarios/python/main.py')

/** Runs one phase of a scenario below `root`; `scratch` is outside of any mount. */
export async function runPhase(
  scenario: string,
  phase: Phase,
  root: string,
  scratch: string,
  onPause: OnPause,
): Promise<Trace> {
  const running = start('python3', ['-B', MAIN, scenario, phase, root, join(scratch, phase)], {
    env: scrubbedEnvironment(join(scratch, 'home'), LONG),
    interactive: true,
  })
  let failed: unknown
  const lines = createInterface({ input: running.child.stdout })
  lines.on('line', (line) => {
    if (!line.startsWith('PAUSE ')) return
    onPause(line.slice(6)).then(
      () => running.child.stdin.write('go\n'),
      (error: unknown) => {
        failed = error
        running.child.stdin.end()
      },
    )
  })
  const { code, stdout, stderr } = await running.finished
  if (failed !== undefined) throw failed
  assert.equal(code, 0, `${scenario} ${phase} ended with ${code}:\n${stderr}`)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Trace
}

/** Fails with the facts that differ, by name, and not with two walls of JSON. */
export function assertSameFacts(what: string, oracle: Trace, mount: Trace): void {
  const differences: string[] = []
  const length = Math.max(oracle.facts.length, mount.facts.length)
  for (let index = 0; index < length; index += 1) {
    const expected = JSON.stringify(oracle.facts[index])
    const got = JSON.stringify(mount.facts[index])
    if (expected !== got)
      differences.push(`  plain directory: ${expected}\n  mount:           ${got}`)
  }
  assert.equal(differences.length, 0, `${what}:\n${differences.slice(0, 20).join('\n')}`)
}

/** Fails with the names of what a mount promises and did not hold. */
export function assertClaims(what: string, trace: Trace): void {
  const broken = trace.claims.filter(([, holds]) => !holds).map(([name]) => name)
  assert.deepEqual(broken, [], `${what}: not held`)
}
