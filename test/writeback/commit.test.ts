import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'
import { createCacheBlockstore, createNodeStore } from '../../src/blocks/index.ts'
import { openDatabase } from '../../src/tree/index.ts'
import { type FakeMount, fakeMount } from '../daemon/fake-mount.ts'
import { waitFor } from '../support/index.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** Everything of a root, read back with Helia after the daemon ended: path -> content or link. */
async function readRoot(mount: FakeMount, tree: string): Promise<Map<string, string>> {
  const database = await openDatabase(mount.paths.db)
  const nodes = createNodeStore(mount.paths.nodes)
  const blockstore = createCacheBlockstore({
    nodes,
    leaves: database.leaves,
    objectsDir: mount.paths.objects,
  })
  const helia = await createHeliaLight({ blockstore }).start()
  const fs = unixfs(helia)
  const found = new Map<string, string>()
  const walk = async (cid: CID, path: string): Promise<void> => {
    for await (const entry of fs.ls(cid)) {
      const child = path === '' ? entry.name : `${path}/${entry.name}`
      const stat = await fs.stat(entry.cid)
      if (stat.type === 'directory') {
        found.set(`${child}/`, '')
        await walk(entry.cid, child)
      } else if (stat.unixfs?.type === 'symlink') {
        found.set(child, `-> ${Buffer.from(stat.unixfs.data ?? []).toString()}`)
      } else {
        const chunks: Uint8Array[] = []
        for await (const chunk of fs.cat(entry.cid)) {
          chunks.push(chunk)
        }
        found.set(child, Buffer.concat(chunks).toString('latin1'))
      }
    }
  }
  try {
    await walk(CID.parse(tree), '')
  } finally {
    await helia.stop()
    await database.close()
  }
  return found
}

async function drainAndRead(mount: FakeMount, tree: string) {
  assert.equal(await mount.drain(), 0)
  return readRoot(mount, tree)
}

test('a commit holds every settled file, link and directory', async (t: TestContext) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  const large = 'x'.repeat(3 * 1024 * 1024 + 7)
  keeper.mkdir('models/a b')
  keeper.mkdir('empty')
  keeper.write('models/config.json', '{}')
  keeper.write('models/a b/ünïcode', 'hello')
  keeper.write('models/zero', '')
  keeper.write('models/large', large)
  keeper.symlink('../config.json', 'models/a b/link')
  const first = await mount.commit()
  assert.deepEqual(first.open, [])
  assert.equal(first.dirty, 0)
  const second = await mount.commit()
  assert.equal(second.root, first.root)
  assert.equal(second.changed, false)
  const found = await drainAndRead(mount, first.tree)
  assert.deepEqual(
    [...found].sort(),
    [
      ['empty/', ''],
      ['models/', ''],
      ['models/a b/', ''],
      ['models/a b/link', '-> ../config.json'],
      ['models/a b/ünïcode', 'hello'],
      ['models/config.json', '{}'],
      ['models/large', large],
      ['models/zero', ''],
    ].sort(),
  )
  assert.equal(keeper.doneDirty, 0)
})

test('bytes are not copied: an object is the very inode of the file', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('model.bin', 'weights')
  await mount.commit()
  const [oid] = mount.keeper.objects()
  assert.ok(oid !== undefined)
  const ino = (path: string) => statSync(path, { bigint: true }).ino
  assert.equal(ino(join(mount.paths.objects, oid)), ino(join(mount.paths.tree, 'model.bin')))
})

test('names that are local-only are in no root and make no new one', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('hub')
  keeper.write('hub/file', 'x')
  const first = await mount.commit()
  keeper.write('hub/x.lock', '')
  keeper.write('hub/abc.incomplete', 'partial')
  keeper.write('token', 'hf_secret')
  keeper.link('token', 'hub/innocent')
  const second = await mount.commit()
  assert.equal(second.root, first.root)
  assert.equal(second.dirty, 0)
  assert.deepEqual(
    second.withheld.map(({ path }) => path),
    ['hub/innocent'],
  )
})

test('a second name of a secret that is still open is withheld, wherever it stands', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('a')
  keeper.mkdir('.ssh')
  const writer = keeper.openWriter('token')
  writer.write('abc')
  keeper.link('token', 'a/first')
  keeper.write('.ssh/any', 'key')
  keeper.link('.ssh/any', 'a/second')
  writer.close()
  const { withheld, tree } = await mount.commit()
  assert.deepEqual(
    withheld.map(({ path }) => path),
    ['a/first', 'a/second'],
  )
  const found = await drainAndRead(mount, tree)
  assert.deepEqual([...found.keys()], ['a/'])
})

test('a secret sticks to its inode also after its name is gone and the daemon started again', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('token', 'abc')
  await mount.commit()
  mount.keeper.rename('token', 'notes.txt')
  await mount.drain()
  const again = await fakeMount(t, { store: mount.paths.store, clean: false })
  const answer = await again.commit()
  assert.deepEqual(
    answer.withheld.map(({ path }) => path),
    ['notes.txt'],
  )
})

test('a file that is open for writing keeps its entry of the root before', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('kept', 'old')
  keeper.write('other', '1')
  const first = await mount.commit()
  const writer = keeper.openWriter('new')
  writer.write('half')
  const rewrite = keeper.openWriter('other')
  rewrite.write('2')
  const second = await mount.commit()
  assert.equal(second.tree, first.tree)
  assert.equal(second.root, first.root)
  assert.deepEqual(
    second.open.map(({ path }) => path),
    ['new', 'other'],
  )
  writer.write(' whole')
  writer.close()
  rewrite.close()
  const third = await mount.commit()
  assert.equal(third.dirty, 0)
  const found = await drainAndRead(mount, third.tree)
  assert.equal(found.get('new'), 'half whole')
  assert.equal(found.get('other'), '2')
})

test('a link is left out while its target is', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  const body = 'model'
  const hash = sha256(body)
  keeper.mkdir('hub/models--a--b/blobs')
  keeper.mkdir('hub/models--a--b/snapshots/1')
  const blob = `hub/models--a--b/blobs/${hash}`
  const writer = keeper.openWriter(blob)
  writer.write(body)
  const link = 'hub/models--a--b/snapshots/1/model.bin'
  keeper.symlink(`../../blobs/${hash}`, link)
  keeper.symlink('model.bin', 'hub/models--a--b/snapshots/1/alias')
  const first = await mount.commit()
  assert.deepEqual(
    first.open.map(({ path }) => path),
    [blob, 'hub/models--a--b/snapshots/1/alias', link],
  )
  writer.close()
  const second = await mount.commit()
  assert.equal(second.dirty, 0)
  const found = await drainAndRead(mount, second.tree)
  assert.equal(found.get(link), `-> ../../blobs/${hash}`)
  assert.equal(found.get(blob), body)
})

test('a blob that does not hash to its name is withheld, and so is the link to it', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('hub/models--a--b/blobs')
  const good = sha256('good')
  keeper.write(`hub/models--a--b/blobs/${good}`, 'good')
  keeper.symlink(`models--a--b/blobs/${good}`, 'hub/link')
  const first = await mount.commit()
  assert.deepEqual(first.withheld, [])
  keeper.write(`hub/models--a--b/blobs/${good}`, 'evil')
  const second = await mount.commit()
  assert.deepEqual(
    second.withheld.map(({ path }) => path),
    ['hub/link', `hub/models--a--b/blobs/${good}`],
  )
  keeper.write(`hub/models--a--b/blobs/${good}`, 'good')
  const third = await mount.commit()
  assert.deepEqual(third.withheld, [])
  assert.equal(third.tree, first.tree)
})

test('a rename keeps the CID and hashes nothing', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('one')
  keeper.write('one/file', 'x'.repeat(5000))
  await mount.commit()
  const before = (await mount.call('status')) as { settle: { hashedBytes: number } }
  keeper.rename('one/file', 'one/renamed')
  keeper.rename('one', 'two')
  keeper.chmod('two/renamed', 0o755)
  const second = await mount.commit()
  assert.equal(second.dirty, 0)
  const after = (await mount.call('status')) as { settle: { hashedBytes: number } }
  assert.equal(after.settle.hashedBytes, before.settle.hashedBytes)
  const found = await drainAndRead(mount, second.tree)
  assert.deepEqual([...found.keys()].sort(), ['two/', 'two/renamed'])
})

test('what was changed under a local-only name is seen when it gets a final one', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('data/sub')
  keeper.write('data/sub/file', 'one')
  await mount.commit()
  keeper.rename('data', 'data.tmp')
  await mount.commit()
  keeper.write('data.tmp/sub/file', 'two')
  keeper.mkdir('data.tmp/more')
  keeper.write('data.tmp/more/file', 'three')
  await mount.commit()
  keeper.rename('data.tmp', 'data', false)
  const last = await mount.commit()
  assert.equal(last.dirty, 0)
  const found = await drainAndRead(mount, last.tree)
  assert.equal(found.get('data/sub/file'), 'two')
  assert.equal(found.get('data/more/file'), 'three')
})

test('a handle that wrote nothing costs no hashing', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('file', 'x'.repeat(5000))
  const first = await mount.commit()
  keeper.openWriter('file').close()
  const second = await mount.commit()
  assert.equal(second.dirty, 0)
  assert.equal(second.root, first.root)
  const { settle } = (await mount.call('status')) as { settle: { hashedBytes: number } }
  assert.equal(settle.hashedBytes, 5000)
})

test('rm and a commit free the disk', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('a', 'a')
  keeper.write('b', 'b')
  await mount.commit()
  assert.equal(keeper.objects().length, 2)
  keeper.unlink('a')
  assert.equal(keeper.objects().length, 2, 'the current root still needs it')
  await mount.commit()
  assert.equal(keeper.objects().length, 1)
  keeper.rename('b', 'c')
  await mount.commit()
  assert.equal(keeper.objects().length, 1)
})

test('a file that no root has seen is dropped at once', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('hub/models--a--b/blobs')
  const blob = `hub/models--a--b/blobs/${sha256('x')}`
  keeper.write(`${blob}.incomplete`, 'x')
  keeper.rename(`${blob}.incomplete`, blob)
  await waitFor('the background settling', () => keeper.objects().length === 1)
  await waitFor('the row', () => mount.log.length > 0)
  keeper.unlink(blob)
  await waitFor('the object to go', () => keeper.objects().length === 0)
})

test('an object that the root before still needs is kept while its name is carried', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('model', 'old')
  const first = await mount.commit()
  const writer = keeper.openWriter('model.new')
  writer.write('new')
  keeper.rename('model.new', 'model')
  const second = await mount.commit()
  assert.equal(second.tree, first.tree)
  assert.equal(keeper.objects().length, 1, 'the old content is only in its object now')
  writer.close()
  const third = await mount.commit()
  assert.notEqual(third.tree, first.tree)
  assert.equal(keeper.objects().length, 1)
  const found = await drainAndRead(mount, third.tree)
  assert.equal(found.get('model'), 'new')
})

test('an in-place rewrite is the new content in the next root', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('file', 'one')
  const first = await mount.commit()
  keeper.write('file', 'two')
  const second = await mount.commit()
  assert.notEqual(second.tree, first.tree)
  assert.equal(keeper.objects().length, 1)
  const found = await drainAndRead(mount, second.tree)
  assert.equal(found.get('file'), 'two')
})

test('a file that is opened while it is hashed is not called clean', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('file', 'one')
  let opened = false
  keeper.before.set('settled', () => {
    if (!opened) {
      opened = true
      keeper.write('file', 'two')
    }
  })
  await mount.commit()
  assert.ok(opened)
  const second = await mount.commit()
  assert.equal(second.dirty, 0)
  const found = await drainAndRead(mount, second.tree)
  assert.equal(found.get('file'), 'two')
})

test('a write that comes while the row is being written wins', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('file', 'one')
  let done = false
  keeper.before.set('settled', () => {
    if (!done) {
      done = true
      // Sent right behind the answer: the daemon has both before it goes on.
      queueMicrotask(() => keeper.write('file', 'two'))
    }
  })
  await mount.commit()
  const second = await mount.commit()
  assert.equal(second.dirty, 0)
  const found = await drainAndRead(mount, second.tree)
  assert.equal(found.get('file'), 'two')
})

test('a write whose news overtakes the answer of the settling wins too', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('file', 'one')
  let writer: ReturnType<typeof keeper.openWriter> | undefined
  keeper.after.set('settled', () => {
    writer ??= keeper.openWriter('file')
  })
  await mount.commit()
  await assert.rejects(mount.call('cid', { paths: ['file'] }), { code: 'dirty' })
  writer?.write('two')
  writer?.close()
  const last = await mount.commit()
  assert.equal(last.dirty, 0)
  const found = await drainAndRead(mount, last.tree)
  assert.equal(found.get('file'), 'two')
})

test('a directory that cannot be listed is open, and costs nobody else', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.unreadable.add('closed')
  keeper.mkdir('closed')
  keeper.write('file', 'x')
  keeper.symlink('closed/file', 'link')
  for (const round of ['first', 'second']) {
    const { open, tree } = await mount.commit()
    assert.deepEqual(
      open.map(({ path }) => path),
      ['closed', 'link'],
      round,
    )
    assert.ok(tree)
  }
  keeper.unreadable.clear()
  const last = await mount.commit()
  assert.equal(last.dirty, 0)
  const found = await drainAndRead(mount, last.tree)
  assert.deepEqual([...found.keys()].sort(), ['closed/', 'file', 'link'])
})

test('commits that come while one runs share the next', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('file', 'x')
  const all = await Promise.all(Array.from({ length: 5 }, () => mount.commit()))
  assert.equal(new Set(all.map(({ root }) => root)).size, 1)
  const lines = readFileSync(mount.paths.commits, 'utf8').trim().split('\n')
  assert.equal(lines.length, 1)
})

test('the store has a key of its own, for its owner only', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('file', 'x')
  await mount.commit()
  assert.equal(lstatSync(mount.paths.key).mode & 0o777, 0o600)
  assert.equal(existsSync(mount.paths.commits), true)
})

test('a directory of 10,000 names is one root', async (t) => {
  const mount = await fakeMount(t, { partEntries: 997 })
  const { keeper } = mount
  keeper.mkdir('big')
  for (let index = 0; index < 10_000; index += 1) {
    keeper.symlink('target', `big/name-${index}`)
  }
  const first = await mount.commit()
  assert.equal(first.dirty, 0)
  const found = await drainAndRead(mount, first.tree)
  assert.equal(found.size, 10_001)
})
