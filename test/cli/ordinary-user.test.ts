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

  it('has the portable engine too: the same answers about files that are not his', async (t) => {
    const lines = `
      mkdir closed && echo theirs > closed/x
      $M mount m --store s --engine fuse-native --json > answer || exit
      grep -q '"engine": "fuse-native"' answer || exit
      echo hi > m/x && chmod 444 m/x && mkdir m/d && echo deep > m/d/y && chmod 555 m/d
      (echo more >> m/x) 2> denied && exit 10; grep -q 'ermission denied' denied || exit 11
      rm -f m/d/y 2> denied && exit 12; grep -q 'ermission denied' denied || exit 13
      chown 0 m/x 2> denied && exit 14; grep -q 'not permitted' denied || exit 15
      (ulimit -c 0; cat m/x m/d/y) && stat -c '%u %a' m/x m/d
      $M commit m && $M unmount m && ls -A m`
    const { code, stdout, stderr } = await asNobody(t, '666', lines)
    assert.equal(code, 0, `${stdout}${stderr}`)
    assert.match(stdout, /^hi\ndeep\n65534 444\n65534 555\n(bafy\w+)\n\1\n$/)
  })

  it('finds what one engine made with each other one, and nothing is hashed again', async (t) => {
    const lines = `
      $M mount m --store s --engine native && echo hi > m/x && chmod 400 m/x && mkdir m/d && echo deep > m/d/y
      $M commit m && $M unmount m || exit
      for engine in fuse-native none native; do
        $M mount m --store s --engine $engine > mounted || exit
        cat m/x m/d/y && $M commit m || exit
        $M status m --json > status && grep -q '"hashedBytes": 0' status || exit 10
        $M unmount m > root || exit
      done`
    const { code, stdout, stderr } = await asNobody(t, '666', lines)
    assert.equal(code, 0, `${stdout}${stderr}`)
    const roots = new Set(stdout.match(/^bafy\w+$/gm))
    assert.equal(roots.size, 1, stdout)
    assert.equal(stdout.match(/^hi\ndeep$/gm)?.length, 3)
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
