// Runs all tests, phase by phase, and ends with one line that counts them:
//   node bin/with-node.mjs test/run.mjs [--long] [FOLDER…]
// `--long` runs the same tests with larger numbers. Folders of test/ name the ones to run; without
// any, all run, after the checks of the sources and the keeper's own tests.

import { chmodSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { takeTimes } from '../bin/setup/times.mjs'
import { temporaryPlace, testEnvironment } from './run/environment.mjs'
import { clearLeftovers, findLeftovers } from './run/leftovers.mjs'
import { minutesTable } from './run/minutes.mjs'
import { checkPhase, endRunning, keeperPhase, nodePhase } from './run/phases.mjs'

const { values, positionals } = parseArgs({
  options: { long: { type: 'boolean', default: false } },
  allowPositionals: true,
})

// Set-up came before, in a process of its own.
const setUp = takeTimes()

// Everything that tests make lies below this, so that what they leave behind can be told from
// what others do on this machine.
const place = mkdtempSync(join(temporaryPlace(), 'modelcache-run-'))
// Tests that become an ordinary user must be able to pass through it.
chmodSync(place, 0o711)
const env = testEnvironment(process.env, place, values.long)
// Whoever ends the run from outside gets no mounts and processes as a remainder.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, async () => {
    process.stdout.write(`ended by ${signal}\n`)
    endRunning()
    await clearLeftovers(await findLeftovers(place, 0), place)
    process.exit(1)
  })
}
const options = { env, place, long: values.long, folders: positionals }

const phases =
  positionals.length > 0
    ? [['tests', nodePhase]]
    : [
        ['check', checkPhase],
        ['keeper', keeperPhase],
        ['tests', nodePhase],
      ]

const total = { passed: 0, failed: 0, skipped: 0 }
const minutes = []
for (const [name, phase] of phases) {
  process.stdout.write(`\n=== ${name}\n`)
  const start = performance.now()
  const result = await phase(options)
  minutes.push([name, performance.now() - start, result], ...(result.parts ?? []))
  total.passed += result.passed
  total.failed += result.failed
  total.skipped += result.skipped
}

const leftovers = await findLeftovers(place)
for (const { text } of leftovers) {
  process.stdout.write(`left behind: ${text}\n`)
}
await clearLeftovers(leftovers, place)

process.stdout.write('\n=== minutes\n')
for (const line of minutesTable(setUp, minutes)) {
  process.stdout.write(`${line}\n`)
}

if (leftovers.length > 0) {
  process.stdout.write(`${leftovers.length} mounts or processes were left behind: a failure\n`)
  total.failed += 1
}
if (total.passed === 0) {
  process.stdout.write('no test was run: a failure\n')
  total.failed += 1
}
process.exitCode = total.failed === 0 ? 0 : 1
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`)
