import assert from 'node:assert/strict'
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  has,
  type Mount,
  modelcache,
  readTree,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'

/** What programs do in a mount, each step as on a local disk. */
function work({ mountpoint }: Mount, name: string): void {
  const at = (path: string) => join(mountpoint, name, path)
  mkdirSync(at('.'))
  writeFileSync(at('whole'), name)
  const fd = openSync(at('partial'), 'w')
  writeSync(fd, name)
  fsyncSync(fd)
  closeSync(fd)
  renameSync(at('partial'), at('renamed'))
  symlinkSync('renamed', at('link'))
  appendFileSync(at('whole'), ' and more')
  assert.equal(readFileSync(at('whole'), 'utf8'), `${name} and more`)
  assert.equal(readFileSync(at('link'), 'utf8'), name)
  unlinkSync(at('link'))
  assert.deepEqual(readdirSync(at('.')).toSorted(), ['renamed', 'whole'])
}

describe('a mount whose daemon', () => {
  it('cannot be started serves what is local, says why, and goes on when it can', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    work(mount, 'before')
    await mount.commitAll()
    // A clean file that is edited while nobody listens: its old version must not be committed.
    const edited = join(mount.mountpoint, 'before/whole')
    const database = join(mount.store, 'db')
    renameSync(database, `${database}.aside`)
    writeFileSync(database, 'no folder')
    await mount.killDaemon()
    work(mount, 'meanwhile')
    writeFileSync(edited, 'edited')

    const trouble = /^its daemon cannot be started: .*db.*local is served.*daemon\.log says more$/
    const status = await waitFor('the reason', async () => {
      const now = await mount.status()
      return trouble.test(now.partial ?? '') ? now : undefined
    })
    assert.equal(status.state, 'serving')
    work(mount, 'still')
    const { env } = mount
    const page = await modelcache(['status', mount.mountpoint], { env })
    assert.match(page.stdout, /state +serving .*its daemon cannot be started: .*db/)
    const commit = await modelcache(['commit', mount.mountpoint], { env })
    assert.match(commit.stderr, /ask the daemon of .*: it cannot be started: .*db/)
    assert.deepEqual([commit.code, commit.stdout], [1, ''])

    rmSync(database)
    renameSync(`${database}.aside`, database)
    await waitFor('the daemon', async () => (await mount.status()).partial === undefined)
    const { root } = await mount.commitAll()
    const { address } = await mount.share()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    const here = await readTree(mount.mountpoint)
    assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
    assert.equal(readFileSync(join(other.mountpoint, 'before/whole'), 'utf8'), 'edited')
  })

  for (const [what, damage] of [
    ['damaged', (path: string) => writeFileSync(path, Buffer.alloc(3000, 0x5a))],
    ['gone', (path: string) => rmSync(path)],
  ] as const) {
    it(`finds its database ${what} makes it again, and loses nothing`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine: 'native' })
      work(mount, 'one')
      const before = await mount.commitAll()
      for (const name of readdirSync(join(mount.store, 'db'))) {
        damage(join(mount.store, 'db', name))
      }
      await mount.killDaemon()
      assert.equal((await mount.commitAll()).tree, before.tree)
      work(mount, 'two')
      const { root } = await mount.commitAll()
      const { address } = await mount.share()
      const other = await withMount(t, { args: ['--from', root, '--peer', address] })
      const here = await readTree(mount.mountpoint)
      assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
    })
  }

  it('stands still makes nobody wait who works on what is local', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    work(mount, 'before')
    await mount.commitAll()
    const { pid } = await mount.status()
    process.kill(pid, 'SIGSTOP')
    t.after(() => continues(pid))
    for (let round = 0; round < 50; round += 1) {
      work(mount, `round-${round}`)
    }
    writeFileSync(join(mount.mountpoint, 'before/whole'), 'edited')
    const silent = await mount.status()
    assert.deepEqual([silent.state, silent.partial], ['serving', 'its daemon does not answer'])
    continues(pid)
    const { root } = await mount.commitAll()
    const { address } = await mount.share()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    const here = await readTree(mount.mountpoint)
    assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
  })
})

function continues(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
