import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './process.ts'

/** Downloads of a few MB on a slow line, and another apt that is at work. */
const DEADLINE_MS = 300_000

/**
 * Makes sure that a program of a Debian package is on PATH: as root it is installed with apt,
 * saying so; else the remedy is named.
 *
 * @param program which is looked for, for example `git-lfs`
 * @returns why it is not there, or undefined if it is
 */
export async function provideDebianPackage(
  program: string,
  name = program,
): Promise<string | undefined> {
  if (isInstalled(program)) return undefined
  const remedy = `run \`sudo apt-get install ${name}\``
  if (process.getuid?.() !== 0 || !isInstalled('apt-get')) {
    return `${program} is not installed: ${remedy}`
  }
  process.stderr.write(`${program} is missing: installs ${name} with apt\n`)
  const install = ['install', '-y', '-q', '--no-install-recommends', name]
  let failure = await apt(install)
  if (failure !== undefined) {
    // Package lists may be empty in an image; then they are fetched first.
    await apt(['update', '-q'])
    failure = await apt(install)
  }
  if (failure !== undefined) return `${name} could not be installed (${failure}): ${remedy}`
  return isInstalled(program) ? undefined : `${name} is installed and has no ${program}`
}

/** Whether a program is on PATH. */
export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((part) => existsSync(join(part, program)))
}

/** @returns the last line of what went wrong, or undefined */
async function apt(words: string[]): Promise<string | undefined> {
  const env = { PATH: process.env.PATH ?? '', DEBIAN_FRONTEND: 'noninteractive' }
  // Two test files may want a package at once: the second one waits for dpkg's lock.
  const args = ['-o', 'DPkg::Lock::Timeout=120', ...words]
  const { code, signal, stderr } = await run('apt-get', args, { env, deadlineMs: DEADLINE_MS })
  const last = stderr.trim().split('\n').at(-1)
  return code === 0 ? undefined : `exit ${code ?? signal}: ${last}`
}
