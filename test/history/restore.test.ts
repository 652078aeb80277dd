import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  modelcacheJson,
  readTree,
  treeDifferences,
  withMount,
} from '../support/index.ts'

interface Restored {
  root: string
  tree: string
  restored: string
  before: string
  left: string[]
}

function fill({ mountpoint }: Mount): void {
  const at = (path: string) => join(mountpoint, path)
  mkdirSync(at('models/a/blobs'), { recursive: true })
  writeFileSync(at('models/a/blobs/weights'), Buffer.alloc(2 * 1024 * 1024 + 9, 'weights'))
  symlinkSync('blobs/weights', at('models/a/link'))
  writeFileSync(at('removed'), 'removed later')
  writeFileSync(at('replaced'), 'first')
  writeFileSync(at('moved'), 'moved later')
  writeFileSync(at('same-bytes-1'), 'the same')
  writeFileSync(at('same-bytes-2'), 'the same')
  writeFileSync(at('becomes-a-directory'), 'file')
  mkdirSync(at('becomes-a-file'))
  writeFileSync(at('becomes-a-file/inner'), 'inner')
  writeFileSync(at('empty'), '')
  chmodSync(at('replaced'), 0o640)
  utimesSync(at('removed'), 1_500_000_000, 1_500_000_000.5)
}

function change({ mountpoint }: Mount): void {
  const at = (path: string) => join(mountpoint, path)
  rmSync(at('models'), { recursive: true })
  unlinkSync(at('removed'))
  writeFileSync(at('replaced.new'), 'second')
  renameSync(at('replaced.new'), at('replaced'))
  mkdirSync(at('elsewhere'))
  renameSync(at('moved'), at('elsewhere/moved'))
  unlinkSync(at('same-bytes-1'))
  unlinkSync(at('same-bytes-2'))
  unlinkSync(at('becomes-a-directory'))
  mkdirSync(at('becomes-a-directory'))
  writeFileSync(at('becomes-a-directory/x'), 'x')
  rmSync(at('becomes-a-file'), { recursive: true })
  linkSync(at('elsewhere/moved'), at('becomes-a-file'))
  unlinkSync(at('empty'))
  writeFileSync(at('added'), 'added')
  writeFileSync(at('token'), 'a secret stays')
  chmodSync(at('elsewhere'), 0o700)
}

describe('restore', () => {
  for (const engine of FUSE_ENGINES) {
    it(`goes back to a kept root and forward again, bit for bit, on ${engine}`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine, args: ['--keep-roots', '4'] })
      fill(mount)
      const first = await mount.commitAll()
      const listed = (options = {}) => readTree(mount.mountpoint, { mtimes: true, ...options })
      const firstTree = await listed()
      change(mount)
      const second = await mount.commitAll()
      const secondTree = await listed()
      const open = openSync(join(mount.mountpoint, 'elsewhere/moved'), 'r')

      const restore = (root: string) =>
        modelcacheJson<Restored>(['restore', mount.mountpoint, root], mount)
      const back = await restore(first.root)
      assert.equal(readFileSync(open, 'utf8'), 'moved later', 'who has it open, has it')
      closeSync(open)
      assert.deepEqual([back.tree, back.before, back.left], [first.tree, second.root, []])
      const now = await listed({ ignore: (path: string) => path === 'token' })
      assert.deepEqual(treeDifferences(firstTree, now), [])
      assert.equal(readFileSync(join(mount.mountpoint, 'token'), 'utf8'), 'a secret stays')
      // The very files came back: nothing was hashed again but what had to be copied.
      const { hashedBytes } = (await mount.status()).settle
      assert.ok(hashedBytes < 3 * 1024 * 1024, `${hashedBytes} bytes were hashed`)

      const forth = await restore(second.root)
      assert.equal(forth.tree, second.tree)
      assert.deepEqual(treeDifferences(secondTree, await listed()), [])
      assert.deepEqual(
        readdirSync(mount.mountpoint).filter((name) => name.startsWith('.modelcache')),
        [],
      )
      const verified = await modelcache(['verify', mount.mountpoint], mount)
      assert.equal(verified.code, 0, verified.stdout)
    })
  }

  it('loses nothing that is open, and refuses a root whose bytes nobody has', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native', args: ['--keep-roots', '3'] })
    const at = (name: string) => join(mount.mountpoint, name)
    writeFileSync(at('edited'), 'first')
    writeFileSync(at('kept'), 'kept')
    const { root } = await mount.commitAll()
    appendFileSync(at('edited'), ', and more')
    rmSync(at('kept'))
    const fd = openSync(at('half'), 'w')
    writeSync(fd, 'half')
    const dirty = await modelcache(['restore', mount.mountpoint, root], mount)
    assert.deepEqual([dirty.code, dirty.stdout], [4, ''])
    assert.match(dirty.stderr, /not everything is settled.*\n {2}half \(/)
    closeSync(fd)
    await mount.commitAll()
    const before = await readTree(mount.mountpoint)
    const lost = await modelcache(['restore', mount.mountpoint, root], mount)
    assert.equal(lost.code, 1)
    assert.match(lost.stderr, /nobody has the bytes of edited: overwritten in place/)
    assert.deepEqual(treeDifferences(before, await readTree(mount.mountpoint)), [])
    const unknown = await modelcache(
      ['restore', mount.mountpoint, 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'],
      mount,
    )
    assert.match(unknown.stderr, /it is no root of this mount; `modelcache log` lists them/)
    assert.equal(unknown.code, 1)
  })

  it('fetches what was remote, and leaves a folder with a secret in it', async (t) => {
    if (!has(t, 'fuse')) return
    const origin = await withMount(t, { engine: 'native' })
    fill(origin)
    const { root, tree } = await origin.commitAll()
    const { address } = await origin.share()
    const args = ['--from', root, '--peer', address, '--keep-roots', '2']
    const mount = await withMount(t, { engine: 'native', args })
    rmSync(join(mount.mountpoint, 'models'), { recursive: true })
    mkdirSync(join(mount.mountpoint, 'new/huggingface'), { recursive: true })
    writeFileSync(join(mount.mountpoint, 'new/huggingface/token'), 'secret')
    writeFileSync(join(mount.mountpoint, 'new/config.json'), '{}')
    await mount.commitAll()
    const back = await modelcacheJson<Restored>(['restore', mount.mountpoint, root], mount)
    assert.deepEqual(back.left.toSorted(), ['new', 'new/huggingface'])
    rmSync(join(mount.mountpoint, 'new'), { recursive: true })
    assert.equal((await mount.commitAll()).tree, tree)
    const expected = await readTree(origin.mountpoint)
    assert.deepEqual(treeDifferences(expected, await readTree(mount.mountpoint)), [])
  })
})
