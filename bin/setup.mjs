// Makes everything that the program needs, once: `npm start` and `npm test` call it first.
//   node bin/setup.mjs [--for start|test]
// A step that finds its work done says nothing, so that a second run is silent and quick.

import { parseArgs } from 'node:util'
import { buildKeeper, buildProgram } from './setup/build.mjs'
import { provideKeeper } from './setup/keeper.mjs'
import { withLock } from './setup/lock.mjs'
import { provideNode } from './setup/node.mjs'
import { installPackages } from './setup/packages.mjs'
import { SetupError, say } from './setup/progress.mjs'
import {
  provideFuse,
  provideFuseIfPossible,
  provideRust,
  provideRustTools,
} from './setup/system.mjs'
import { leaveTimes, timed } from './setup/times.mjs'

/**
 * In this order: each step uses what the ones before it made. Tests need everything; to start, the
 * program makes do with what can be had.
 */
const STEPS = {
  start: [
    ['Node', provideNode],
    ['npm packages', installPackages],
    ['FUSE', provideFuseIfPossible],
    ['Rust and the keeper', provideKeeper],
    ['the program', buildProgram],
  ],
  test: [
    ['Node', provideNode],
    ['npm packages', installPackages],
    ['FUSE', provideFuse],
    ['Rust', provideRust],
    ['formatter and linter of Rust', provideRustTools],
    ['the keeper', buildKeeper],
    ['the program', buildProgram],
  ],
}

async function main() {
  const { values } = parseArgs({ options: { for: { type: 'string', default: 'start' } } })
  const steps = STEPS[values.for]
  if (steps === undefined) {
    throw new SetupError(`--for ${values.for}: give start or test`, 2)
  }
  await withLock(async () => {
    const times = await timed(steps)
    // The run of tests says them in its table; a start has nobody to say them.
    if (values.for === 'test') {
      leaveTimes(times)
    }
  })
}

try {
  await main()
} catch (error) {
  if (!(error instanceof SetupError)) {
    throw error
  }
  say(error.message)
  process.exitCode = error.exitCode
}
