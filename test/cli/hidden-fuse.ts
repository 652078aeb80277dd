import { type Finished, FORGET_COPIED_MOUNTS, nodePath, run } from '../support/index.ts'
import { MAIN, type Shell } from './command.ts'

/**
 * Runs a command in a mount namespace of its own whose /dev has what programs need, and no fuse:
 * a machine without FUSE, as a bare container is.
 */
export function runWithoutFuse(
  shell: Shell,
  words: string[],
  extra: Record<string, string> = {},
): Promise<Finished> {
  return runWithDevice(shell, words, '', extra)
}

/** The same where another device, as containers put it over what they hide, lies at /dev/fuse. */
export function runWithNullForFuse(shell: Shell, words: string[]): Promise<Finished> {
  return runWithDevice(shell, words, 'mknod -m 666 /dev/fuse c 1 3')
}

function runWithDevice(
  { base, env }: Shell,
  words: string[],
  device: string,
  extra: Record<string, string> = {},
): Promise<Finished> {
  const script = `set -e
    ${FORGET_COPIED_MOUNTS}
    mount -t tmpfs none /dev
    mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5
    mknod -m 666 /dev/random c 1 8; mknod -m 666 /dev/urandom c 1 9
    ${device}
    exec "$@"`
  const command = ['-m', 'sh', '-c', script, 'sh', nodePath(), MAIN, ...words]
  return run('unshare', command, { env: { ...env, ...extra }, cwd: base })
}
