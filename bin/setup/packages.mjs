// The packages of package-lock.json, and npm itself.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, suitableNode } from '../runtime.mjs'
import { run, SetupError, say } from './progress.mjs'

/**
 * Runs npm: the one that started us, in the newest Node we have, else the one in PATH.
 *
 * @returns {Promise<boolean>} whether it ended with 0
 */
export function runNpm(args) {
  // Its installer fetches GPU libraries from a vendor's host; the CPU's are in the package.
  const env = { ONNXRUNTIME_NODE_INSTALL: 'skip' }
  const npm = process.env.npm_execpath
  return npm?.endsWith('.js') && existsSync(npm)
    ? run(suitableNode() ?? process.execPath, [npm, ...args], env)
    : run('npm', args, env)
}

/** Installs what package-lock.json names, unless node_modules holds exactly that. */
export async function installPackages() {
  if (isInstalled()) {
    return
  }
  say('installs the npm packages (about 400 MB, a minute or two)')
  if (!(await runNpm(['ci', '--no-audit', '--no-fund', '--ignore-scripts']))) {
    throw new SetupError('npm ci failed: see above, and run this again')
  }
  if (!isInstalled()) {
    throw new SetupError('npm ci left packages out: see above, and run this again')
  }
}

/**
 * npm writes node_modules/.package-lock.json as its last act, so comparing the two tells of a
 * changed lock file, an interrupted installation and a deleted folder alike. Packages for other
 * systems are optional and rightly absent.
 */
function isInstalled() {
  const installed = join(ROOT, 'node_modules/.package-lock.json')
  if (!existsSync(installed)) {
    return false
  }
  const have = packagesOf(installed)
  const wanted = Object.entries(packagesOf(join(ROOT, 'package-lock.json')))
  return wanted.every(([place, { version, optional, devOptional }]) => {
    const found = have[place]
    return found === undefined ? place === '' || optional || devOptional : found.version === version
  })
}

function packagesOf(lockFile) {
  return JSON.parse(readFileSync(lockFile, 'utf8')).packages
}
