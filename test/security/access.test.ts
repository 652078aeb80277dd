import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  NOBODY,
  ordinaryUser,
  start,
  waitFor,
  withMount,
} from '../support/index.ts'

const SWAP = fileURLToPath(new URL('python/swap.py', import.meta.url))
const LOOK = fileURLToPath(new URL('python/look.py', import.meta.url))
/** Each is ten operations of the victim. */
const TRIES = process.env.MODELCACHE_TEST_LONG === '1' ? 10_000 : 150
const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root to become another user' }

/** Lets others come as far as the mount and its store, so that these have to keep them out. */
function opened({ store }: Pick<Mount, 'store'>): void {
  chmodSync(dirname(store), 0o755)
}

describe('a second user', needsRoot, () => {
  for (const engine of FUSE_ENGINES) {
    it(`${engine}: gets EACCES from the mount, its store and its sockets`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      opened(mount)
      writeFileSync(join(mount.mountpoint, 'x'), 'mine', { mode: 0o644 })
      await mount.commitAll()
      await mount.share()
      const { mountpoint, store } = mount
      const names = readdirSync(store).map((name) => join(store, name))
      const places = [mountpoint, join(mountpoint, 'x'), store, ...names, join(store, 'tree/x')]
      places.push(join(store, 'run/control.sock'), join(store, 'log/daemon.log'))
      const { run: asNobody } = ordinaryUser(t, { seesMounts: true })
      const lines = places.map(
        (place) => `ls -ld '${place}/.' ; cat '${place}' ; echo x > '${place}/new'`,
      )
      const { stdout, stderr } = await asNobody(`{ ${lines.join('\n')}\n} 2>&1`)
      const answers = `${stdout}${stderr}`.trimEnd().split('\n')
      assert.equal(answers.length, places.length * 3)
      assert.deepEqual(
        answers.filter((line) => !/Permission denied$/.test(line)),
        [],
      )
      assert.equal(readFileSync(join(mountpoint, 'x'), 'utf8'), 'mine')
    })
  }

  it('is let in by --allow-other, as far as the modes allow, and owns what he makes', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t)
    await mount.unmount()
    opened(mount)
    const words = ['mount', mount.mountpoint, '--store', mount.store, '--allow-other']
    const { code, stderr } = await modelcache(words, { env: mount.env })
    assert.equal(code, 0, stderr)
    assert.match(stderr, /^warning: --allow-other: every user of this machine may use the mount/m)
    const at = (path: string) => join(mount.mountpoint, path)
    writeFileSync(at('closed'), 'mine', { mode: 0o600 })
    writeFileSync(at('open'), 'everybody', { mode: 0o644 })
    mkdirSync(at('shared'))
    chmodSync(at('shared'), 0o777)
    const { run: asNobody } = ordinaryUser(t, { seesMounts: true })
    const lines = `cd ${mount.mountpoint}
      cat open; cat closed; echo x >> open; mkdir shared/d && echo his > shared/d/x && ln -s x shared/d/l
      ls ${mount.store}; cat ${mount.store}/key`
    const answer = await asNobody(lines)
    assert.equal(answer.stdout, 'everybody')
    assert.equal(answer.stderr.match(/ermission denied/g)?.length, 4, answer.stderr)
    for (const path of ['shared/d', 'shared/d/x', 'shared/d/l']) {
      const { uid, gid } = lstatSync(at(path))
      assert.deepEqual([uid, gid], [NOBODY, NOBODY], path)
    }
    assert.equal(readFileSync(at('shared/d/x'), 'utf8'), 'his\n')
    await mount.commitAll()
  })
})

describe('a mount', () => {
  for (const engine of FUSE_ENGINES) {
    it(`${engine}: has no set-user-id programs and no devices, and a store for its owner alone`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      writeFileSync(join(mount.mountpoint, 'x'), 'mine')
      await mount.commitAll()
      await mount.share()
      const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
      const line = table.find((one) => one.split(' ')[4] === mount.mountpoint) ?? ''
      const flags = line.split(' ')[5]?.split(',') ?? []
      assert.ok(flags.includes('nosuid') && flags.includes('nodev'), line)
      assert.ok(line.includes('default_permissions') && !line.includes('allow_other'), line)
      assert.equal(statSync(mount.store).mode & 0o777, 0o700)
      const names = readdirSync(mount.store, { recursive: true, encoding: 'utf8' })
      const loose = names
        .filter((name) => !name.startsWith('tree') && !name.startsWith('objects/'))
        .filter((name) => (lstatSync(join(mount.store, name)).mode & 0o077) !== 0)
      assert.deepEqual(loose, [])
    })
  }
})

describe('a race of a directory and a link in its place', needsRoot, () => {
  it('lets nobody out of the tree: not to read, list, write, make or remove', async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const mount = await withMount(t, { args: ['--allow-other'] })
    opened(mount)
    const outside = join(dirname(mount.store), 'outside')
    mkdirSync(outside, { mode: 0o700 })
    for (const name of ['x', 'kept']) writeFileSync(join(outside, name), `outside ${name}`)
    symlinkSync('outside target', join(outside, 'l'))
    const before = readdirSync(outside).toSorted()

    const tree = join(mount.store, 'tree')
    mkdirSync(join(mount.mountpoint, 'd'))
    chmodSync(join(mount.mountpoint, 'd'), 0o777)
    for (const name of ['x', 'kept']) {
      writeFileSync(join(mount.mountpoint, 'd', name), 'inside')
      chmodSync(join(mount.mountpoint, 'd', name), 0o666)
    }
    symlinkSync(outside, join(tree, '.swapped'))
    const words = [SWAP, join(tree, 'd'), join(tree, '.swapped')]
    const swapping = start('python3', words, { env: mount.env, interactive: true })
    t.after(() => swapping.kill())
    await waitFor('the exchanges to begin', () => swapping.output().includes('ready'))

    const look = [LOOK, join(mount.mountpoint, 'd'), String(TRIES), String(NOBODY)]
    const looking = start('python3', look, { env: mount.env, cwd: '/' })
    t.after(() => looking.kill())
    const done = looking.finished.then(() => true)
    while (!(await Promise.race([done, mount.commit().then(() => false)]))) {
      // Commits list the tree all the while.
    }
    const { stdout, stderr, code } = await looking.finished
    assert.equal(code, 0, stderr)
    const { served, wrong } = JSON.parse(stdout) as { served: number; wrong: string[] }
    assert.deepEqual(wrong, [])
    assert.ok(served > TRIES / 10, `only ${served} operations were served`)
    swapping.child.stdin?.end('\n')
    await swapping.finished
    t.diagnostic(`${swapping.output().split('\n')[1]} exchanges, ${served} operations served`)

    assert.deepEqual(readdirSync(outside).toSorted(), before)
    for (const name of ['x', 'kept']) {
      assert.equal(readFileSync(join(outside, name), 'utf8'), `outside ${name}`)
    }
    const { root } = await mount.commitAll()
    const { address } = await mount.share()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    assert.equal(readFileSync(join(other.mountpoint, 'd/x'), 'utf8'), 'inside')
  })
})
