// A Node that is new enough, where the system's is older: from npm, as a plain binary.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  CAN_PROVIDE,
  isAtLeast,
  NEEDED_NODE,
  PROVIDED_NODE,
  PROVIDED_PATH,
  ROOT,
  suitableNode,
} from '../runtime.mjs'
import { runNpm } from './packages.mjs'
import { outputOf, SetupError, say } from './progress.mjs'

/** Installs the pinned Node unless this one will do, or that one is there. */
export async function provideNode() {
  if (isAtLeast(process.versions.node, NEEDED_NODE)) {
    return
  }
  if (existsSync(PROVIDED_PATH) && installedVersion() === PROVIDED_NODE.version) {
    return
  }
  if (!CAN_PROVIDE) {
    throw new SetupError(
      `this is Node ${process.versions.node}: install ${NEEDED_NODE} or later from your system ` +
        'or nodejs.org, and run this again',
      5,
    )
  }
  const wanted = `${PROVIDED_NODE.package}@${PROVIDED_NODE.version}`
  say(
    `this is Node ${process.versions.node}, ${NEEDED_NODE} is needed: installs ${wanted} from npm`,
  )
  const ok = await runNpm([
    'install',
    '--prefix',
    join(ROOT, '.toolchain'),
    '--no-save',
    '--no-package-lock',
    '--ignore-scripts',
    wanted,
  ])
  if (!ok || suitableNode() === undefined || installedVersion() !== PROVIDED_NODE.version) {
    throw new SetupError(`npm could not install ${wanted}: see above, and run this again`)
  }
}

function installedVersion() {
  return outputOf(PROVIDED_PATH, ['--version'])?.replace(/^v/, '')
}
