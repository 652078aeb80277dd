import { join } from 'node:path'
import { stdout } from 'node:process'
import {
  makeTempDir,
  mountpointsBelow,
  removeTempDir,
  scrubbedEnvironment,
} from '../support/index.ts'
import { Commands } from './commands.ts'
import { Narrator } from './narrator.ts'
import { STEPS, type Stage, tellStory } from './story.ts'

/**
 * `npm run tour`: the whole story on a tiny model that it makes itself, through bin/modelcache as a
 * user would. Everything happens in one temporary directory and on loopback; it needs neither
 * Python nor Go nor a network, and exits 1 when anything is not as said.
 */

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => interrupted.abort(new Error(`the tour was ended by ${name}`)))
}

const base = makeTempDir('modelcache-tour-')
const narrator = new Narrator((text) => stdout.write(text), STEPS)
const environment = scrubbedEnvironment(join(base, 'home'))
const stage: Stage = {
  narrator,
  commands: new Commands(narrator, environment, base, interrupted.signal),
  base,
  hub: join(base, 'hub'),
  first: join(base, 'first'),
  firstStore: join(base, 'first-store'),
  second: join(base, 'second'),
  secondStore: join(base, 'second-store'),
}

narrator.fact(`Everything happens in ${base} and on loopback.`)
const startedMs = performance.now()
try {
  await tellStory(stage)
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  narrator.end(`Everything was as said, in ${seconds} s.`)
} catch (error) {
  process.exitCode = 1
  narrator.fail('Not as said', error)
} finally {
  await leaveNothing()
}

/** The end, also of a tour that failed: takes away what it mounted and made. */
async function leaveNothing(): Promise<void> {
  for (const place of [stage.second, stage.first]) {
    if (mountpointsBelow(place).length === 0) continue
    try {
      await stage.commands.atLast('unmount', place, '--force')
    } catch (error) {
      process.exitCode = 1
      narrator.fail(`Unmount ${place}`, error)
    }
  }
  await removeTempDir(base)
}
