// Which Node the program runs in. Everything here runs on Node 20 too: helia's HTTP client needs
// 22.19, so an older Node starts the one that set-up provides, and steps aside.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { arch, constants, platform } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of package.json. */
export const ROOT = fileURLToPath(new URL('../', import.meta.url)).replace(/\/$/, '')

/** The oldest Node that undici 8, and with it helia 7, runs on. */
export const NEEDED_NODE = '22.19.0'

/** What set-up installs where the system's Node is older, from npm: a plain binary. */
export const PROVIDED_NODE = { package: `node-${platform()}-${arch()}`, version: '22.23.3' }

/** Whether set-up can provide a Node for this machine. */
export const CAN_PROVIDE = platform() === 'linux' && ['x64', 'arm64'].includes(arch())

/** The provided Node's executable; it may not be installed. */
export const PROVIDED_PATH = join(
  ROOT,
  '.toolchain/node_modules',
  PROVIDED_NODE.package,
  'bin/node',
)

/** Compares versions of three numbers; true if `version` is `needed` or later. */
export function isAtLeast(version, needed) {
  const have = version.replace(/^v/, '').split('.').map(Number)
  const want = needed.split('.').map(Number)
  for (let place = 0; place < want.length; place += 1) {
    const difference = (have[place] ?? 0) - want[place]
    if (difference !== 0) {
      return difference > 0
    }
  }
  return true
}

/** The Node to run the program with: this one, the provided one, or undefined if there is none. */
export function suitableNode() {
  if (isAtLeast(process.versions.node, NEEDED_NODE)) {
    return process.execPath
  }
  return existsSync(PROVIDED_PATH) ? PROVIDED_PATH : undefined
}

/** Signals that a terminal, a supervisor or a user sends to end or poke a program. */
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH']

/**
 * Runs a script in the suitable Node: in this process when it is that one already, else in a child
 * that gets the signals and gives its exit code.
 *
 * @param {string} script - absolute path
 * @param {string[]} args
 */
export async function runInSuitableNode(script, args) {
  const node = suitableNode()
  if (node === undefined) {
    fail(
      `needs Node ${NEEDED_NODE} or later, and this is ${process.versions.node}: ` +
        `run \`npm start\` in ${ROOT}, which provides one`,
    )
  } else if (node === process.execPath) {
    process.argv = [process.argv[0], script, ...args]
    await import(script)
  } else {
    const child = spawn(node, [script, ...args], { stdio: 'inherit' })
    // The child has its own working directory by now. A mount that this process stood in would be
    // busy for its whole life.
    process.chdir('/')
    for (const signal of FORWARDED) {
      process.on(signal, () => child.kill(signal))
    }
    child.on('error', (error) => fail(`start ${node}: ${error.message}`))
    child.on('exit', (code, signal) => endAs(code, signal))
  }
}

/** Ends this process as another one ended: same exit code, or same signal. */
function endAs(code, signal) {
  if (signal === null) {
    process.exit(code)
  }
  for (const name of FORWARDED) {
    process.removeAllListeners(name)
  }
  process.kill(process.pid, signal)
  // A signal that does not end a process by default leaves it here.
  process.exitCode = 128 + constants.signals[signal]
}

/** Says why in one line, and ends with 1. */
export function fail(message) {
  process.stderr.write(`modelcache: ${message}\n`)
  process.exitCode = 1
}
