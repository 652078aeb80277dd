/** The daemon with the real keeper and a real mount. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'
import { createCacheBlockstore, createNodeStore } from '../../src/blocks/index.ts'
import { openDatabase, storePaths } from '../../src/tree/index.ts'
import { has, type Mount, modelcache, waitFor, withMount } from '../support/index.ts'

const MIB = 1024 * 1024

/** Bytes that differ everywhere, so that no two leaves are the same. */
function bytes(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length)
  for (let at = 0; at < length; at += 32) {
    createHash('sha256').update(`${seed} ${at}`).digest().copy(data, at)
  }
  return data
}

/** The committed tree, read by Helia over our block store, path -> content. */
async function readWithHelia(store: string, tree: string): Promise<Map<string, Buffer | string>> {
  const paths = storePaths(store)
  const database = await openDatabase(paths.db)
  const nodes = createNodeStore(paths.nodes)
  const { leaves } = database
  const blockstore = createCacheBlockstore({ nodes, leaves, objectsDir: paths.objects })
  const helia = await createHeliaLight({ blockstore }).start()
  const fs = unixfs(helia)
  const found = new Map<string, Buffer | string>()
  const walk = async (cid: CID, path: string): Promise<void> => {
    for await (const { name, cid: child } of fs.ls(cid)) {
      const at = path === '' ? name : `${path}/${name}`
      const stat = await fs.stat(child)
      if (stat.type === 'directory') {
        found.set(at, 'directory')
        await walk(child, at)
      } else if (stat.unixfs?.type === 'symlink') {
        found.set(at, `-> ${Buffer.from(stat.unixfs.data ?? []).toString()}`)
      } else {
        const chunks: Uint8Array[] = []
        for await (const chunk of fs.cat(child, { offline: true })) {
          chunks.push(chunk)
        }
        found.set(at, Buffer.concat(chunks))
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

function objectsOf(mount: Mount): string[] {
  return readdirSync(join(mount.store, 'objects'))
}

test('every file of a commit is read back with cat on a Helia node', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const at = (...names: string[]) => join(mount.mountpoint, ...names)
  const expected = new Map<string, Buffer | string>()
  const put = (name: string, data: Buffer) => {
    writeFileSync(at(name), data)
    expected.set(name, data)
  }
  for (const [index, size] of [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7].entries()) {
    put(`size ${size}`, bytes(size, index))
  }
  mkdirSync(at('empty'))
  expected.set('empty', 'directory')
  mkdirSync(at('ünï côde'))
  expected.set('ünï côde', 'directory')
  put('ünï côde/run.sh', Buffer.from('#!/bin/sh\n'))
  chmodSync(at('ünï côde/run.sh'), 0o755)
  symlinkSync('ünï côde/run.sh', at('link'))
  expected.set('link', '-> ünï côde/run.sh')
  mkdirSync(at('300'))
  expected.set('300', 'directory')
  for (let index = 0; index < 300; index += 1) {
    put(`300/file-${index}`, bytes(index, index))
  }
  const { tree } = await mount.commitAll()
  await mount.unmount()
  const found = await readWithHelia(mount.store, tree)
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort())
  for (const [path, content] of expected) {
    assert.ok(Buffer.from(content).equals(Buffer.from(found.get(path) ?? 'missing')), path)
  }
})

test('rename, rewrite in place, chmod, hard link and rm, each as the next root shows it', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const at = (name: string) => join(mount.mountpoint, name)
  writeFileSync(at('a'), 'one')
  mkdirSync(at('dir'))
  writeFileSync(at('dir/b'), 'two')
  const first = await mount.commitAll()
  assert.equal(objectsOf(mount).length, 2)
  assert.equal(lstatSync(at('a')).nlink, 1, 'our own link is not seen')

  renameSync(at('dir'), at('other'))
  renameSync(at('a'), at('other/a'))
  chmodSync(at('other/b'), 0o600)
  const second = await mount.commitAll()
  assert.notEqual(second.tree, first.tree)
  assert.equal(objectsOf(mount).length, 2)

  const fd = openSync(at('other/a'), 'r+')
  writeSync(fd, 'ONE')
  closeSync(fd)
  linkSync(at('other/b'), at('b'))
  const third = await mount.commitAll()
  assert.notEqual(third.tree, second.tree)
  assert.equal(objectsOf(mount).length, 2)

  rmSync(at('other'), { recursive: true })
  const fourth = await mount.commitAll()
  assert.equal(objectsOf(mount).length, 1, 'b has a name still')
  await mount.unmount()
  const found = await readWithHelia(mount.store, fourth.tree)
  assert.deepEqual([...found.keys()], ['b'])
  assert.equal(Buffer.from(found.get('b') ?? '').toString(), 'two')

  await mount.mount()
  rmSync(at('b'))
  await mount.commitAll()
  assert.deepEqual(objectsOf(mount), [])
})

test('a committed file is stored once, and rm and a commit free the disk', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const size = 128 * MIB
  const path = join(mount.mountpoint, 'model.bin')
  const fd = openSync(path, 'w')
  for (let at = 0; at < size; at += 8 * MIB) {
    writeSync(fd, randomBytes(8 * MIB))
  }
  closeSync(fd)
  await mount.commitAll()
  const { store_usage: usage } = await mount.status()
  const used = usage.treeBytes + usage.blockBytes + usage.indexBytes
  assert.ok(used < 1.02 * size, `${used} bytes for ${size}`)
  const before = freeBytes(mount.store)
  rmSync(path)
  await mount.commitAll()
  assert.deepEqual(objectsOf(mount), [])
  await waitFor('the disk to be free again', () => freeBytes(mount.store) - before > 0.9 * size)
})

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize
}

test('local-only names make no new root, secrets enter none', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const at = (name: string) => join(mount.mountpoint, name)
  mkdirSync(at('hub'))
  writeFileSync(at('hub/file'), 'x')
  const first = await mount.commitAll()
  writeFileSync(at('hub/x.lock'), '')
  writeFileSync(at('hub/y.incomplete'), 'half')
  writeFileSync(at('token'), 'hf_abc')
  const second = await mount.commit()
  assert.equal(second.root, first.root)
  assert.equal(second.dirty, 0)
  utimesSync(at('hub'), 1, 1)
  const third = await mount.commit()
  assert.equal(third.tree, first.tree)
  assert.notEqual(third.root, first.root, 'a time that a program set is kept')
})

test('an open file keeps its entry, and is in the next root when it is closed', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const at = (name: string) => join(mount.mountpoint, name)
  writeFileSync(at('a'), 'old')
  const first = await mount.commitAll()
  const fd = openSync(at('a'), 'r+')
  writeSync(fd, 'new')
  const open = openSync(at('b'), 'w')
  writeSync(open, 'half')
  const second = await mount.commit()
  assert.equal(second.tree, first.tree)
  assert.equal(second.dirty, 2)
  closeSync(fd)
  closeSync(open)
  const third = await mount.commitAll()
  assert.notEqual(third.tree, first.tree)
  const fourth = await mount.commit()
  assert.equal(fourth.root, third.root)
})

test('a clean file that is opened for writing and closed unchanged is not hashed again', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'model.bin')
  writeFileSync(path, bytes(4 * MIB, 1))
  const first = await mount.commitAll()
  for (let round = 0; round < 3; round += 1) {
    closeSync(openSync(path, 'r+'))
    closeSync(openSync(path, 'a'))
    const again = await mount.commitAll()
    assert.equal(again.root, first.root)
  }
  const status = (await mount.status()) as unknown as { settle: { hashedBytes: number } }
  assert.equal(status.settle.hashedBytes, 4 * MIB)
})

test('background settling makes a closed file clean without a commit', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'model.bin')
  writeFileSync(path, 'x')
  await waitFor('a CID', async () => {
    return (await modelcache(['cid', path], { env: mount.env })).code === 0
  })
  assert.equal(objectsOf(mount).length, 1)
  assert.equal(statSync(path).nlink, 1)
})

test('kill -9 of the daemon while commits and changes run gives a root of what is on disk', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const at = (name: string) => join(mount.mountpoint, name)
  for (let round = 0; round < 4; round += 1) {
    mkdirSync(at(`dir-${round}`))
    for (let index = 0; index < 40; index += 1) {
      writeFileSync(at(`dir-${round}/${index}`), bytes(20_000 + index, round))
    }
    writeFileSync(at('rewritten'), bytes(3 * MIB, round))
    symlinkSync(`dir-${round}/1`, at(`link-${round}`))
    if (round > 0) {
      renameSync(at(`dir-${round - 1}/2`), at(`dir-${round}/moved`))
      rmSync(at(`dir-${round - 1}/3`))
    }
    const commit = mount.commit().catch(() => undefined)
    await mount.killDaemon()
    await commit
  }
  const { tree } = await mount.commitAll()
  const expected = new Map<string, Buffer | string>()
  const walk = (folder: string) => {
    for (const entry of readdirSync(at(folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory()) {
        expected.set(path, 'directory')
        walk(path)
      } else {
        const content = entry.isSymbolicLink()
          ? `-> ${readlinkSync(at(path))}`
          : readFileSync(at(path))
        expected.set(path, content)
      }
    }
  }
  walk('')
  assert.equal(objectsOf(mount).length, 4 * 40 + 1 - 3)
  await mount.unmount()
  const found = await readWithHelia(mount.store, tree)
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort())
  for (const [path, content] of expected) {
    assert.ok(Buffer.from(content).equals(Buffer.from(found.get(path) ?? 'missing')), path)
  }
})
