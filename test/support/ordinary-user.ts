import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { nodePath, repositoryRoot } from './modelcache.ts'
import { FORGET_COPIED_MOUNTS } from './mount-namespace.ts'
import { type Finished, run } from './process.ts'
import { tempDir } from './temp-dir.ts'

/** Debian's and everybody's `nobody`. */
export const NOBODY = 65_534

export interface OrdinaryUserOptions {
  /** Permissions of /dev/fuse, as this user sees it; open to everybody on most machines. */
  deviceMode?: string
  /** He sees the mounts that were made before, and none of their processes ends until he is done. */
  seesMounts?: boolean
}

/** What an ordinary user has: a home, and the clone with its Node where he may go. */
export interface OrdinaryUser {
  readonly home: string
  /** Where the clone is in his mount namespace. */
  readonly repository: string
  /**
   * Runs lines of sh as that user, in his home and in mount and process namespaces of their own:
   * what they mount and start ends with them. `$NODE` is Node, `$M` the command line.
   */
  run(lines: string, deadlineMs?: number): Promise<Finished>
}

/**
 * Makes an ordinary user of a test that runs as root. The clone and its Node may lie where he
 * cannot go, so they are shown to him elsewhere.
 */
export function ordinaryUser(t: TestContext, options: OrdinaryUserOptions = {}): OrdinaryUser {
  const { deviceMode = '666', seesMounts = false } = options
  const base = tempDir(t, 'modelcache-nobody-')
  chmodSync(base, 0o755)
  const home = join(base, 'home')
  const repository = join(base, 'repo')
  const node = join(base, 'node')
  mkdirSync(repository)
  for (const directory of [home, join(base, 'tmp'), join(base, 'cache')]) {
    mkdirSync(directory)
    chownSync(directory, NOBODY, NOBODY)
  }
  const script = `set -e
    ${seesMounts ? '' : FORGET_COPIED_MOUNTS}
    rm -f "$0/fuse" && mknod -m ${deviceMode} "$0/fuse" c 10 229
    mount --bind "$0/fuse" /dev/fuse
    mount --bind "$1" "$0/repo"
    touch "$0/node" && mount --bind "$2" "$0/node"
    cd "$0/home"
    exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups sh -c "$3"`
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: home,
    TMPDIR: join(base, 'tmp'),
    MODELCACHE_TEST_CACHE: join(base, 'cache'),
    ...kept('MODELCACHE_TEST_LONG'),
    NODE: node,
    M: `${node} ${repository}/src/cli/main.ts`,
  }
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
  return {
    home,
    repository,
    run: (lines, deadlineMs) => {
      const args = [...namespaces, 'sh', '-c', script, base, repositoryRoot, nodePath(), lines]
      return run('unshare', args, { env, cwd: base, ...(deadlineMs && { deadlineMs }) })
    },
  }
}

function kept(name: string): Record<string, string> {
  const value = process.env[name]
  return value === undefined ? {} : { [name]: value }
}
