import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { createLogger, systemClock } from '../../src/base/index.ts'
import { openLocalTree } from '../../src/mount/index.ts'
import { createStore } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'
import { LocalStore, localStore } from './local-store.ts'

/** A child that has the file mapped for writing until it is told to end. */
const MAP = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
view = mmap.mmap(fd, 0)
os.close(fd)
print('mapped', flush=True)
sys.stdin.read()
`

function appending(t: TestContext, path: string): Promise<unknown[]> {
  const child = spawn('sh', ['-c', 'echo more >> "$0"', path], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return once(child, 'exit')
}

describe('the lock of a store', () => {
  it('lets one process in, and the next after it', async (t) => {
    const first = await localStore(t)
    await assert.rejects(localStore(t, first.paths.store), { code: 'store-locked', exitCode: 1 })
    await first.tree.close(false)
    const second = await localStore(t, first.paths.store)
    assert.equal(second.tree.clean, false)
  })

  it('is clean after a clean stop only, and marked unclean before anything happens', async (t) => {
    const first = await localStore(t)
    assert.ok(first.tree.clean && first.tree.untouched)
    assert.ok(existsSync(first.paths.unclean))
    await first.tree.close(true)
    assert.ok(!existsSync(first.paths.unclean))
    const second = await localStore(t, first.paths.store)
    assert.ok(second.tree.clean)
    second.tree.changedDirectory('')
    assert.ok(!second.tree.untouched)
    await second.tree.close(false)
    const third = await localStore(t, first.paths.store)
    assert.ok(!third.tree.clean && !third.tree.untouched)
  })

  it('tells what came before anybody listened', async (t) => {
    const paths = await createStore(join(tempDir(t), 'store'))
    const logger = createLogger({ level: 'error', write: () => undefined })
    const tree = await openLocalTree(paths, { logger, clock: systemClock })
    t.after(() => tree.close(false))
    const id = { ino: 1n, btimeNs: 2n }
    tree.final(id, 'file', 'name')
    tree.gone(id)
    const store = new LocalStore(tree, [])
    assert.deepEqual(store.kinds(), ['final', 'gone'])
  })
})

describe('a lease', () => {
  it('is on the very file, which is settled under it', async (t) => {
    const { at, id, paths, tree } = await withFile(t)
    const lease = await tree.lease('file', id)
    assert.equal(readFileSync(lease.path, 'utf8'), 'content')
    assert.equal(lease.stamp.sizeBytes, 7)
    const stamp = await tree.settled(lease.number, 3n)
    assert.equal(lstatSync(join(paths.objects, '3')).ino, lstatSync(at).ino)
    assert.equal(stamp.ctimeNs, lstatSync(at, { bigint: true }).ctimeNs)
    assert.equal(tree.ourLinks(id), 1)
    assert.ok(!existsSync(lease.path))
    await tree.unlinkObjects([3n, 4n])
    assert.ok(!existsSync(join(paths.objects, '3')))
    assert.equal(tree.ourLinks(id), 0)
  })

  it('finds the objects of an earlier session', async (t) => {
    const { id, tree, paths } = await withFile(t)
    await tree.settled((await tree.lease('file', id)).number, 8n)
    await tree.close(true)
    const next = await localStore(t, paths.store)
    assert.equal(next.tree.ourLinks(id), 1)
    const lease = await next.tree.lease('file', id)
    await next.tree.settled(lease.number, 8n)
    assert.equal(next.tree.ourLinks(id), 1)
  })

  it('is refused for another file, for none, and for what is no file', async (t) => {
    const { id, store, tree } = await withFile(t)
    mkdirSync(store.at('dir'))
    for (const path of ['none', 'none/file', 'file/none', 'dir']) {
      await assert.rejects(tree.lease(path, id), { errno: 'ESTALE' }, path)
    }
    await assert.rejects(tree.lease('file', { ...id, btimeNs: 1n }), { errno: 'ESTALE' })
  })

  it('is refused while the file is open for writing, or leased already', async (t) => {
    const { at, id, tree } = await withFile(t)
    const writer = openSync(at, 'r+')
    await assert.rejects(tree.lease('file', id), { errno: 'EAGAIN' })
    closeSync(writer)
    const lease = await tree.lease('file', id)
    await assert.rejects(tree.lease('file', id), { errno: 'EAGAIN' })
    tree.unlease(lease.number)
    tree.unlease((await tree.lease('file', id)).number)
  })

  it('is refused while another process has the file mapped for writing', async (t) => {
    const { at, id, tree } = await withFile(t)
    const child = spawn('python3', ['-c', MAP, at], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    await assert.rejects(tree.lease('file', id), { errno: 'EAGAIN' })
    child.stdin.end()
    await once(child, 'exit')
    tree.unlease((await tree.lease('file', id)).number)
  })

  it('is let go at once when another process opens the file for writing', async (t) => {
    const { at, id, store, tree } = await withFile(t)
    await store.committedPaths()
    const lease = await tree.lease('file', id)
    const exit = appending(t, at)
    assert.deepEqual(await exit, [0, null])
    assert.deepEqual(store.broken, [lease.number])
    await assert.rejects(tree.settled(lease.number, 1n), { errno: 'ECANCELED' })
    assert.equal(tree.ourLinks(id), 0)
    assert.deepEqual(await store.committedPaths(), [''])
  })

  it('of several files goes for all whose break one signal told', async (t) => {
    const store = await localStore(t)
    const names = ['a', 'b', 'c', 'd']
    const leases: number[] = []
    for (const name of names) {
      writeFileSync(store.at(name), name)
      leases.push((await store.tree.lease(name, store.id(name))).number)
    }
    const exits = names.slice(0, 3).map((name) => appending(t, store.at(name)))
    await Promise.all(exits)
    assert.deepEqual(store.broken.toSorted(), leases.slice(0, 3))
    await store.tree.settled(leases[3] ?? 0, null)
  })

  it('does not make this thread wait for itself', async (t) => {
    const { at, id, store, tree } = await withFile(t)
    const lease = await tree.lease('file', id)
    tree.willWrite(id, 'file', 1)
    closeSync(openSync(at, 'r+'))
    assert.deepEqual(store.broken, [lease.number])
    assert.deepEqual(store.kinds(), ['dirty'])
    await assert.rejects(tree.settled(lease.number, null), { errno: 'ECANCELED' })
  })

  it('settles nothing that has lost its last name', async (t) => {
    const { at, id, tree } = await withFile(t)
    const lease = await tree.lease('file', id)
    unlinkSync(at)
    await assert.rejects(tree.settled(lease.number, 5n), { errno: 'ECANCELED' })
    assert.equal(tree.ourLinks(id), 0)
  })

  it('comes before what is told after it', async (t) => {
    const { id, store, tree } = await withFile(t)
    const { number, sequence } = await tree.lease('file', id)
    await tree.settled(number, null)
    tree.willWrite(id, 'file', 1)
    assert.ok((store.changes[0]?.sequence ?? 0) > sequence)
    const snapshot = await tree.snapshot(false, false)
    tree.gone(id)
    assert.ok((store.changes[1]?.sequence ?? 0) > snapshot.sequence)
  })

  it('ends with the store, and nothing more is given', async (t) => {
    const { at, id, tree } = await withFile(t)
    const lease = await tree.lease('file', id)
    await tree.close(false)
    assert.ok(!existsSync(lease.path) || readFileSync(lease.path, 'utf8') !== 'content')
    assert.deepEqual(await appending(t, at), [0, null])
    await assert.rejects(tree.lease('file', id), { errno: 'EIO' })
  })
})

describe('what is dirty', () => {
  it('is noted durably once, until it is settled', async (t) => {
    const { id, paths, store, tree } = await withFile(t)
    const line = `${id.ino} ${id.btimeNs}\n`
    tree.willWrite(id, 'file', 1)
    tree.willWrite(id, 'file', 1)
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), line)
    assert.deepEqual(store.kinds(), ['dirty'])
    assert.deepEqual(tree.dirty(), [id])
    await tree.settled((await tree.lease('file', id)).number, null)
    assert.deepEqual(tree.dirty(), [])
    tree.willWrite(id, 'file', 1)
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), line + line)
  })

  it('is known without a note when the file is new, and to nobody when it has no name', async (t) => {
    const { id, paths, store, tree } = await withFile(t)
    tree.created(id)
    tree.willWrite(id, 'file', 1)
    assert.deepEqual(tree.dirty(), [id])
    tree.gone(id)
    assert.deepEqual(tree.dirty(), [])
    tree.willWrite(id, undefined, 0)
    assert.deepEqual(tree.dirty(), [])
    assert.deepEqual(store.kinds(), ['gone'])
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '')
  })

  it('has no stamp to renew', async (t) => {
    const { id, store, tree } = await withFile(t)
    const old = { sizeBytes: 7, mtimeNs: 1n, ctimeNs: 2n }
    const next = { ...old, ctimeNs: 3n }
    tree.stampMoved(id, old, old)
    tree.stampMoved(id, old, next)
    assert.deepEqual(store.kinds(), ['stamp'])
    tree.willWrite(id, 'file', 1)
    tree.stampMoved(id, next, old)
    assert.deepEqual(store.kinds(), ['stamp', 'dirty'])
  })

  it('is dirty after a crash, until the listing shows that it is gone', async (t) => {
    const { id, store, tree, paths } = await withFile(t)
    writeFileSync(store.at('other'), 'x')
    const other = store.id('other')
    tree.willWrite(id, 'file', 1)
    tree.willWrite(other, 'other', 1)
    await tree.close(false)
    unlinkSync(store.at('other'))
    const next = await localStore(t, paths.store)
    assert.deepEqual(next.tree.dirty(), [id, other])
    assert.deepEqual(await next.committedPaths(), [''])
    assert.deepEqual(next.tree.dirty(), [id])
    await next.tree.close(true)
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '')
  })

  it('has its directory listed, or all of the tree when it has other names', async (t) => {
    const store = await localStore(t)
    mkdirSync(store.at('a/b'), { recursive: true })
    mkdirSync(store.at('c'))
    writeFileSync(store.at('a/b/file'), 'x')
    linkSync(store.at('a/b/file'), store.at('c/file'))
    const id = store.id('c/file')
    await store.committedPaths()
    store.tree.willWrite(id, 'a/b/file', 2)
    assert.deepEqual(await store.committedPaths(), ['', 'a', 'a/b', 'c'])
    store.tree.willWrite(id, 'a/b/file', 1)
    assert.deepEqual(await store.committedPaths(), ['', 'a', 'a/b'])
    store.tree.changedFile('c/file', 1)
    assert.deepEqual(await store.committedPaths(), ['', 'c'])
    store.tree.changedFile(undefined, 1)
    assert.deepEqual(await store.committedPaths(), ['', 'a', 'a/b', 'c'])
  })
})

describe('the changed directories', () => {
  it('are listed with all above them until that is committed', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('a/b')
    const first = await store.tree.snapshot(false, false)
    store.tree.changedDirectory('c', true)
    const second = await store.tree.snapshot(false, false)
    const listed = second.directories.map(({ path, explicit }) => [path, explicit])
    assert.deepEqual(listed, [
      ['', false],
      ['a', false],
      ['a/b', false],
      ['c', true],
    ])
    store.tree.committed(first.number, [])
    store.tree.committed(second.number, [store.id('a/b')])
    assert.deepEqual(await store.committedPaths(), ['', 'a', 'a/b'])
    assert.deepEqual(await store.committedPaths(), [])
  })

  it('keep their marks through renames, also those of a snapshot that is not committed', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('a/b')
    await store.tree.snapshot(false, false)
    renameSync(store.at('a'), store.at('z'))
    store.tree.movedDirectory('a', 'z')
    assert.deepEqual(await store.committedPaths(), ['', 'z', 'z/b'])
  })

  it('stay changed where they are now when they were renamed during a commit', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('a/b')
    const { number } = await store.tree.snapshot(false, false)
    const id = store.id('a/b')
    renameSync(store.at('a'), store.at('z'))
    store.tree.movedDirectory('a', 'z')
    store.tree.committed(number, [id])
    assert.deepEqual(await store.committedPaths(), ['', 'z', 'z/b'])
  })

  it('are all listed when one that stays changed is not known', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('c')
    await store.committedPaths([{ ino: 1n, btimeNs: 1n }])
    assert.deepEqual(await store.committedPaths(), ['', 'a', 'a/b', 'c'])
  })

  it('are forgotten when they are removed, whatever has their name then', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('c', true)
    await store.tree.snapshot(false, false)
    renameSync(store.at('c'), join(tempDir(t), 'c'))
    store.tree.removedDirectory('c')
    writeFileSync(store.at('c'), 'a file now')
    store.tree.changedDirectory('')
    assert.deepEqual(await store.committedPaths(), [''])
  })

  it('are passed over when somebody else removed them or put a file there', async (t) => {
    const store = await directories(t)
    store.tree.changedDirectory('a/b')
    store.tree.changedDirectory('c')
    renameSync(store.at('a'), join(tempDir(t), 'a'))
    renameSync(store.at('c'), join(tempDir(t), 'c'))
    writeFileSync(store.at('c'), 'a file now')
    assert.deepEqual(await store.committedPaths(), [''])
  })
})

async function withFile(t: TestContext) {
  const store = await localStore(t)
  writeFileSync(store.at('file'), 'content')
  const { paths, tree } = store
  return { at: store.at('file'), id: store.id('file'), paths, store, tree }
}

async function directories(t: TestContext) {
  const store = await localStore(t)
  mkdirSync(store.at('a/b'), { recursive: true })
  mkdirSync(store.at('c'))
  return store
}
