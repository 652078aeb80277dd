import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  FORGET_COPIED_MOUNTS,
  nodePath,
  repositoryRoot,
  run,
  scrubbedEnvironment,
  start,
  waitFor,
} from '../support/index.ts'
import { pythonPrefix } from './python.ts'
import { type Caller, MissingWay, STEP_DEADLINE_MS } from './way.ts'

/** Debian's and everybody's `nobody`. */
const NOBODY = 65_534

/**
 * Runs programs as an ordinary user, in a mount namespace where /dev/fuse is open to everybody,
 * as desktops have it. The clone and its Node may lie where that user cannot go, so they are
 * shown to him below `base`. The namespace ends with the process that holds it.
 *
 * @throws MissingWay for who is not root: he cannot become another
 */
export async function becomeOrdinaryUser(base: string): Promise<Caller> {
  if (process.getuid?.() !== 0) throw new MissingWay('needs root to become an ordinary user')
  chmodSync(base, 0o755)
  const home = join(base, 'home')
  const env = scrubbedEnvironment(home)
  for (const [name, place] of Object.entries(env)) {
    if (name === 'HOME' || place.startsWith(`${home}/`)) chownSync(place, NOBODY, NOBODY)
  }
  // What was made on the way to the XDG directories is root's.
  chownSync(join(home, '.local'), NOBODY, NOBODY)
  mkdirSync(join(base, 'repo'))
  const script = `set -e
    mount --make-rprivate /
    ${FORGET_COPIED_MOUNTS}
    mknod -m 666 "$0/fuse" c 10 229
    mount --bind "$0/fuse" /dev/fuse
    mount --bind ${JSON.stringify(repositoryRoot)} "$0/repo"
    mkdir "$0/python" && mount --bind ${JSON.stringify(await pythonPrefix())} "$0/python"
    touch "$0/node" && mount --bind ${JSON.stringify(nodePath())} "$0/node"
    echo ready
    exec cat`
  const holder = start('unshare', ['-m', 'sh', '-c', script, base], {
    env,
    interactive: true,
    deadlineMs: 24 * 3_600_000,
  })
  const ended = holder.finished.then(({ stderr }) => {
    throw new Error(`the namespace of the ordinary user ended: ${stderr}`)
  })
  await Promise.race([ended, waitFor('the namespace', () => holder.output().includes('ready'))])
  ended.catch(() => undefined)
  const enter = ['--target', String(holder.pid), '--mount', '--']
  const become = ['setpriv', '--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups']
  return {
    run: (command, args) =>
      run('nsenter', [...enter, ...become, command, ...args], {
        env,
        deadlineMs: STEP_DEADLINE_MS,
      }),
    repository: join(base, 'repo'),
    python: join(base, 'python/bin/python3'),
    modelcache: [join(base, 'node'), join(base, 'repo/bin/modelcache')],
    close: async () => {
      holder.child.stdin.end()
      await holder.finished
    },
  }
}
