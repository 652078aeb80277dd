import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { type Finished, ordinaryUser } from '../support/index.ts'

/** @param deviceMode - of /dev/fuse, as this user sees it */
function asNobody(t: TestContext, deviceMode: string, lines: string): Promise<Finished> {
  return ordinaryUser(t, { deviceMode }).run(lines)
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
    const lines = '$M mount m --store s --engine native; echo $?; ls -A'
    const { stdout, stderr } = await asNobody(t, '600', lines)
    assert.match(stderr, /\/dev\/fuse is closed to this user: open it with `sudo chmod 666/)
    assert.equal(stdout, '5\n')
  })

  it('gets a link to the files instead, if he leaves the engine open', async (t) => {
    const lines = `
      $M mount m --store s && echo hi > m/x && cat m/x && test -L m
      $M commit m && $M unmount m && test -d m && ls m`
    const { code, stdout, stderr } = await asNobody(t, '600', lines)
    assert.equal(code, 0, stderr)
    assert.match(stderr, /engine none: \/dev\/fuse is closed to this user/)
    assert.match(stdout, /\nhi\nbafy\w+\nbafy\w+\n$/)
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
