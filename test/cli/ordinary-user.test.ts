import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type Finished, nodePath, repositoryRoot, run, tempDir } from '../support/index.ts'

/** Debian's and everybody's `nobody`. */
const NOBODY = 65_534

/**
 * Runs lines of sh as an ordinary user, in a mount namespace of their own: its mounts end with it.
 * The clone and its Node may lie where that user cannot go, so they are shown to him elsewhere.
 *
 * @param deviceMode - of /dev/fuse, as this user sees it
 */
async function asNobody(t: TestContext, deviceMode: string, lines: string): Promise<Finished> {
  const base = tempDir(t, 'modelcache-nobody-')
  chmodSync(base, 0o755)
  const home = join(base, 'home')
  mkdirSync(home)
  chownSync(home, NOBODY, NOBODY)
  const script = `set -e
    mknod -m ${deviceMode} "$0/fuse" c 10 229
    mount --make-rprivate / && mount --bind "$0/fuse" /dev/fuse
    mkdir "$0/repo" && mount --bind ${JSON.stringify(repositoryRoot)} "$0/repo"
    touch "$0/node" && mount --bind ${JSON.stringify(nodePath())} "$0/node"
    cd "$0/home"
    exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups sh -c "$1"`
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: home,
    M: `${base}/node ${base}/repo/src/cli/main.ts`,
  }
  return run('unshare', ['-m', 'sh', '-c', script, base, lines], { env, cwd: base })
}

describe('an ordinary user', {
  skip: process.getuid?.() !== 0 && 'needs root to become one',
}, () => {
  it('mounts through fusermount3, reads, writes and unmounts', async (t) => {
    const lines = `
      $M mount m --store s --json > answer || exit
      grep -q '"active": false' answer
      echo hi > m/x && cat m/x
      $M cid m/x > cid || $M commit m > root
      $M unmount m > root && ls -A m`
    const { code, stdout, stderr } = await asNobody(t, '666', lines)
    assert.deepEqual([code, stdout], [0, 'hi\n'], stderr)
  })

  it('is told when the device is closed to him, and nothing is left', async (t) => {
    const lines = '$M mount m --store s; echo $?; ls -A'
    const { stdout, stderr } = await asNobody(t, '600', lines)
    assert.match(stderr, /\/dev\/fuse is closed to this user: open it with `sudo chmod 666/)
    assert.equal(stdout, '5\n')
  })

  it('is told when he may not write to the store or the mountpoint', async (t) => {
    const lines = `
      $M mount m --store /root/s; echo $?
      $M mount /root/m --store s; echo $?
      ls -A`
    const { stdout, stderr } = await asNobody(t, '666', lines)
    assert.match(stderr, /--store "\/root\/s": permission denied/)
    assert.match(stderr, /mountpoint "\/root\/m": permission denied/)
    assert.equal(stdout, '5\n5\n')
  })

  it('is told by doctor what passthrough needs', async (t) => {
    const { code, stdout } = await asNobody(t, '666', '$M doctor')
    assert.match(stdout, /warn +passthrough +off: CAP_SYS_ADMIN is not held/)
    assert.equal(code, 0)
  })
})
