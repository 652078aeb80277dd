import assert from 'node:assert/strict'
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  type EngineName,
  has,
  type Mount,
  modelcache,
  modelcacheJson,
  readTree,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'

interface Exported {
  root: string
  tree: string
  bytes: number
}

function fill({ mountpoint }: Mount): void {
  const at = (path: string) => join(mountpoint, path)
  mkdirSync(at('hub/blobs'), { recursive: true })
  writeFileSync(at('hub/blobs/weights'), Buffer.alloc(3 * 1024 * 1024 + 17, 'weights'))
  writeFileSync(at('hub/blobs/empty'), '')
  symlinkSync('blobs/weights', at('hub/model.safetensors'))
  linkSync(at('hub/blobs/weights'), at('hub/linked'))
  writeFileSync(at('run.sh'), '#!/bin/sh\n')
  chmodSync(at('run.sh'), 0o755)
  utimesSync(at('run.sh'), 1_500_000_000, 1_500_000_000.123)
  mkdirSync(at('many'))
  for (let index = 0; index < 300; index += 1) {
    writeFileSync(at(`many/file-${index}`), `content ${index % 7}`)
  }
  chmodSync(at('many'), 0o750)
  writeFileSync(at('token'), 'hf_secretsecretsecretsecretsecret')
}

describe('a CAR file', () => {
  const engines: EngineName[] = ['native', 'fuse-native', 'none']
  for (const engine of engines) {
    it(`carries a root bit for bit, without a network, to engine ${engine}`, async (t) => {
      if (!has(t, 'fuse')) return
      const car = join(await tempDir(t), 'cache.car')
      const origin = await withMount(t, { engine: 'native', env: { CI: '1' } })
      fill(origin)
      const { root } = await origin.commitAll()
      const exported = await modelcacheJson<Exported>(['export', origin.mountpoint, car], origin)
      assert.equal(exported.root, root)
      const bytes = readFileSync(car)
      assert.equal(exported.bytes, bytes.length)
      assert.equal(bytes.includes('secretsecret'), false, 'the token is not in it')
      const here = await readTree(origin.mountpoint)
      await origin.unmount()

      const args = ['--from', car]
      const other = await withMount(t, { engine, args, env: { CI: '1' } })
      const there = await readTree(other.mountpoint)
      const differences = treeDifferences(here, there)
      assert.deepEqual(
        differences.filter((difference) => !JSON.stringify(difference).includes('token')),
        [],
      )
      const again = await modelcacheJson<Exported>(
        ['export', other.mountpoint, `${car}.2`, '--root', root],
        other,
      )
      assert.equal(again.root, root)
      assert.equal(Buffer.compare(readFileSync(`${car}.2`), bytes), 0)
      assert.equal((await other.commitAll()).tree, exported.tree)

      // Once all of it is here the file is needed no more.
      await waitFor('everything to be here', async () => {
        const { tree } = await other.status()
        return tree.placeholders === 0 && tree.unlistedDirectories === 0
      })
      renameSync(car, `${car}.away`)
      await other.unmount()
      await other.mount([])
      assert.deepEqual(treeDifferences(there, await readTree(other.mountpoint)), [])
    })
  }

  it('that is cut off, is none, or lies is refused, and nothing is left behind', async (t) => {
    if (!has(t, 'fuse')) return
    const dir = await tempDir(t)
    const origin = await withMount(t, { engine: 'native', env: { CI: '1' } })
    fill(origin)
    await origin.commitAll()
    const car = join(dir, 'good.car')
    await modelcacheJson(['export', origin.mountpoint, car], origin)
    const good = readFileSync(car)

    const cut = join(dir, 'cut.car')
    writeFileSync(cut, good)
    truncateSync(cut, good.length - 1000)
    const none = join(dir, 'none.car')
    writeFileSync(none, 'this is no CAR file, but text'.repeat(100))
    const lying = join(dir, 'lying.car')
    const changed = Buffer.from(good)
    // The commit is the first block: its last byte is one of the tree's CID or so.
    changed[200] = (changed[200] ?? 0) ^ 0xff
    writeFileSync(lying, changed)
    const mountpoint = join(dir, 'copy')
    mkdirSync(mountpoint)
    for (const [file, reason] of [
      [cut, /cut\.car: it is no CAR file that can be opened: .*; make it again/],
      [none, /none\.car: it is no CAR file that can be opened/],
      [lying, /lying\.car: it is no CAR file that can be opened: .*damaged/],
      [join(dir, 'missing.car'), /missing\.car: it is no CAR file that can be opened: .*ENOENT/],
      [dir, /it is no file/],
    ] as const) {
      const store = join(dir, 'store')
      const words = ['mount', mountpoint, '--from', file, '--store', store]
      const { code, stderr } = await modelcache(words, { env: origin.env, cwd: dir })
      assert.match(stderr, reason)
      assert.equal(code, 1)
      assert.deepEqual(readdirSync(mountpoint), [])
      assert.equal(readdirSync(dir).includes('store'), false, 'no store is left')
    }
  })

  it('gives EIO for a leaf that is not what it says, and the rest is there', async (t) => {
    if (!has(t, 'fuse')) return
    const dir = await tempDir(t)
    const origin = await withMount(t, { engine: 'native', env: { CI: '1' } })
    writeFileSync(join(origin.mountpoint, 'bad'), 'b'.repeat(5000))
    writeFileSync(join(origin.mountpoint, 'good'), 'g'.repeat(5000))
    await origin.commitAll()
    const car = join(dir, 'x.car')
    await modelcacheJson(['export', origin.mountpoint, car], origin)
    const bytes = readFileSync(car)
    bytes[bytes.indexOf('bbbbbbbb') + 100] = 0x21
    writeFileSync(car, bytes)
    const other = await withMount(t, {
      args: ['--from', car, '--fetch-deadline', '2'],
      env: { CI: '1' },
    })
    assert.equal(readFileSync(join(other.mountpoint, 'good'), 'utf8'), 'g'.repeat(5000))
    assert.throws(() => readFileSync(join(other.mountpoint, 'bad')), { code: 'EIO' })
    assert.match(readFileSync(join(other.store, 'log/daemon.log'), 'utf8'), /is damaged/)
  })
})
