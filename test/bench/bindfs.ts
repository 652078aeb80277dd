import { run } from '../support/index.ts'

/** Either what it is, or why there is none. */
export type Provided = { name: string; missing?: never } | { missing: string }

const DEADLINE_MS = 300_000

/**
 * Debian's bindfs, the peer that fuse-native is measured by: a C program that passes every
 * operation of a directory on. As root it is installed if it is missing, and that is said.
 */
export async function provideBindfs(): Promise<Provided> {
  const found = await version()
  if (found !== undefined) return { name: found }
  if (process.getuid?.() !== 0) {
    return { missing: 'bindfs is not installed: run `sudo apt-get install bindfs`' }
  }
  process.stderr.write('bench: bindfs is missing: installs bindfs with apt\n')
  const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', 'bindfs']
  // Package lists may be empty in an image; then they are fetched first.
  const failed =
    (await apt(install)) && ((await apt(['apt-get', 'update', '-q'])) ?? (await apt(install)))
  if (failed !== undefined) return { missing: `bindfs could not be installed: ${failed}` }
  const installed = await version()
  return installed === undefined
    ? { missing: 'bindfs was installed and is not found' }
    : { name: installed }
}

/** @returns the last line of what went wrong, or undefined */
async function apt([command = '', ...args]: string[]): Promise<string | undefined> {
  const env = { PATH: process.env.PATH ?? '', DEBIAN_FRONTEND: 'noninteractive' }
  const { code, stderr } = await run(command, args, { env, deadlineMs: DEADLINE_MS })
  return code === 0 ? undefined : (stderr.trim().split('\n').at(-1) ?? `exit ${code}`)
}

async function version(): Promise<string | undefined> {
  const env = { PATH: process.env.PATH ?? '' }
  const { stdout } = await run('sh', ['-c', 'command -v bindfs >/dev/null && bindfs --version'], {
    env,
  })
  return stdout.trim() === '' ? undefined : stdout.trim()
}
