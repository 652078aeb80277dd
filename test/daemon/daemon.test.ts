import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { tempDir, waitFor } from '../support/index.ts'
import { daemonConfig, fakeMount, OPEN_GATE } from './fake-mount.ts'

interface Status {
  state: string
  mountpoint: string
  store: string
  pid: number
  keeperPid: number
  restarts: number
  engine: string
  gate: { open: boolean; by: string }
  root: { cid: string; committedAt: string }
  dirty: { files: number; bytes: number; oldestSeconds: number; open: number }
  tree: { files: number; bytes: number; placeholders: number; missingBytes: number }
  store_usage: { treeBytes: number; blockBytes: number; indexBytes: number }
  hydrate: object
  served: object
  network: { listening: string[]; heliaStarted: boolean }
}

test('status says what is in the tree, and what is dirty', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('clean', 'x'.repeat(100))
  const { root } = await mount.commit()
  const writer = keeper.openWriter('open')
  writer.write('abc')
  keeper.write('x.lock', 'z')
  const status = (await mount.call('status')) as Status
  assert.equal(status.state, 'serving')
  assert.equal(status.pid, mount.pid)
  assert.equal(status.keeperPid, process.pid)
  assert.equal(status.engine, 'native')
  assert.deepEqual(status.gate, { open: false, by: 'CI=1' })
  assert.equal(status.root.cid, root)
  assert.ok(Date.parse(status.root.committedAt) > 0)
  assert.equal(status.dirty.files, 1)
  assert.equal(status.dirty.bytes, 3)
  assert.equal(status.dirty.open, 1)
  assert.deepEqual(status.tree, {
    files: 3,
    bytes: 104,
    placeholders: 0,
    missingBytes: 0,
    unlistedDirectories: 0,
  })
  assert.ok(status.store_usage.treeBytes > 0)
  assert.ok(status.store_usage.indexBytes > 0)
  assert.equal(status.network.heliaStarted, false)
})

test('cid answers for what is settled and refuses what is not', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.mkdir('dir')
  keeper.write('dir/file', 'hello')
  await assert.rejects(mount.call('cid', { paths: ['dir/file'] }), { code: 'dirty', exitCode: 4 })
  await assert.rejects(mount.call('cid', { paths: ['dir'] }), { code: 'dirty', exitCode: 4 })
  await assert.rejects(keeper.cid('dir/file'), { code: 'ENODATA' })
  const { tree } = await mount.commit()
  const answer = (await mount.call('cid', { paths: ['dir/file', 'dir', ''] })) as {
    path: string
    cid: string
  }[]
  assert.deepEqual(
    answer.map(({ path }) => path),
    ['dir/file', 'dir', ''],
  )
  // sha2-256 of "hello" as a raw leaf.
  assert.equal(answer[0]?.cid, 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq')
  assert.equal(answer[2]?.cid, tree)
  assert.deepEqual(await keeper.cid('dir'), { cid: answer[1]?.cid })
  await assert.rejects(mount.call('cid', { paths: ['none'] }), { code: 'not-found', exitCode: 1 })
  await assert.rejects(mount.call('cid', { paths: ['../x'] }), { code: 'usage', exitCode: 2 })
})

test('the control socket is for its owner and survives nonsense', async (t) => {
  const mount = await fakeMount(t)
  assert.equal(lstatSync(mount.paths.controlSocket).mode & 0o777, 0o600)
  await assert.rejects(mount.call('dance'), { code: 'unknown-operation', exitCode: 2 })
  const socket = createConnection(mount.paths.controlSocket)
  socket.write('no json\n')
  const answer = await new Promise<string>((resolve) => {
    socket.once('data', (data) => resolve(data.toString()))
  })
  assert.match(answer, /"error"/)
  socket.destroy()
  assert.ok(await mount.call('status'))
})

test('a store with a long path has a control socket', async (t) => {
  const store = join(tempDir(t), 'x'.repeat(200), 'store')
  const { mkdirSync } = await import('node:fs')
  mkdirSync(store, { recursive: true, mode: 0o700 })
  const mount = await fakeMount(t, { store })
  assert.ok(await mount.call('status'))
})

test('a closed gate refuses share with exit code 5 and says why', async (t) => {
  const mount = await fakeMount(t)
  await assert.rejects(mount.call('share'), { code: 'gate-closed', exitCode: 5, message: /CI=1/ })
})

test('share is open again after a restart of the daemon, and gone after a clean end', async (t) => {
  const config = daemonConfig({ gate: OPEN_GATE })
  const mount = await fakeMount(t, { config })
  mount.keeper.write('file', 'x')
  await mount.commit()
  const first = (await mount.call('share')) as { address: string; name: string }
  assert.match(first.address, /^http:\/\/127\.0\.0\.1:\d+\/t\/[\w-]{43}$/)
  assert.match(first.name, /^ipns:\/\/k/)
  const root = await (await fetch(`${first.address}/root`)).json()
  assert.ok(root)
  await mount.kill()
  const again = await fakeMount(t, { config, store: mount.paths.store, restarts: 1, clean: true })
  const second = (await again.call('share')) as { address: string }
  assert.equal(second.address, first.address)
  assert.equal(await again.drain(), 0)
  assert.equal(existsSync(mount.paths.share), false)
})

test('unmount commits, and answers before it ends', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('file', 'x')
  const answer = (await mount.call('unmount', { timeoutMs: 10_000, force: false })) as {
    root: string
    dirty: number
  }
  assert.match(answer.root, /^bafy/)
  assert.equal(answer.dirty, 0)
  assert.equal(await mount.exit, 0)
  assert.equal(mount.keeper.mounted, false)
  assert.equal(mount.keeper.doneDirty, 0)
  assert.equal(existsSync(mount.paths.controlSocket), false)
})

test('unmount of a busy mount says so and goes on serving', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.busy = true
  await assert.rejects(mount.call('unmount', { timeoutMs: 1000 }), { code: 'busy', exitCode: 1 })
  assert.equal(((await mount.call('status')) as Status).state, 'serving')
  await mount.call('unmount', { timeoutMs: 1000, force: true })
  assert.equal(await mount.exit, 0)
})

test('a drain with an open file ends with what is dirty, and the next mount goes on', async (t) => {
  const mount = await fakeMount(t)
  const writer = mount.keeper.openWriter('open')
  writer.write('abc')
  assert.equal(await mount.drain(true), 0)
  assert.equal(mount.keeper.doneDirty, 1)
  writer.close()
  const again = await fakeMount(t, { store: mount.paths.store, clean: false })
  const answer = await again.commit()
  assert.equal(answer.dirty, 0)
  assert.equal(((await again.call('status')) as Status).dirty.files, 0)
})

test('when the keeper goes the daemon goes', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.close()
  assert.equal(await mount.exit, 0)
})

test('a frame that is no frame ends the daemon', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.send({ t: 'nonsense' })
  assert.equal(await mount.exit, 1)
})

test('kill -9 and a restart give the same root, and nothing dirty is forgotten', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  keeper.write('a', 'a')
  keeper.write('b', 'b')
  const first = await mount.commit()
  keeper.write('b', 'changed')
  keeper.write('c', 'c')
  await mount.kill()
  const again = await fakeMount(t, { store: mount.paths.store, clean: false, restarts: 1 })
  const second = await again.commit()
  assert.notEqual(second.tree, first.tree)
  assert.equal(second.dirty, 0)
  assert.equal(again.keeper.objects().length, 3)
  again.keeper.write('b', 'b')
  again.keeper.unlink('c')
  const third = await again.commit()
  assert.equal(third.tree, first.tree)
  assert.equal(again.keeper.objects().length, 2)
})

test('rows that the dirty log names are not believed', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('file', 'one')
  await mount.commit()
  const { ino, btimeNs } = mount.keeper.idOf('file')
  await mount.drain()
  appendFileSync(mount.paths.dirtyLog, `${ino} ${btimeNs}\n${ino} tor`)
  const again = await fakeMount(t, { store: mount.paths.store, clean: false })
  const { settle } = (await again.commit().then(() => again.call('status'))) as {
    settle: { hashedBytes: number }
  }
  assert.equal(settle.hashedBytes, 3)
})

test('an unclean start drops objects without a row and rows without an object', async (t) => {
  const mount = await fakeMount(t)
  const { keeper, paths } = mount
  keeper.write('a', 'a')
  keeper.write('b', 'b')
  const first = await mount.commit()
  await mount.kill()
  const [one] = readdirSync(paths.objects)
  const { renameSync } = await import('node:fs')
  renameSync(join(paths.objects, String(one)), join(paths.objects, '999999'))
  writeFileSync(join(paths.staging, 'left-over'), 'x')
  const again = await fakeMount(t, { store: paths.store, clean: false })
  await waitFor('the stray object to go', () => !existsSync(join(paths.objects, '999999')))
  const second = await again.commit()
  assert.equal(second.root, first.root)
  assert.equal(again.keeper.objects().length, 2)
  assert.deepEqual(readdirSync(paths.staging), [])
})

test('objects whose file was removed while nobody looked are dropped by the next commit', async (t) => {
  const mount = await fakeMount(t)
  const { paths } = mount
  mount.keeper.write('a', 'a')
  await mount.commit()
  await mount.kill()
  const { unlinkSync } = await import('node:fs')
  unlinkSync(join(paths.tree, 'a'))
  const again = await fakeMount(t, { store: paths.store, clean: false })
  await again.commit()
  assert.deepEqual(again.keeper.objects(), [])
})

test('files that were changed past the engine are found after an unclean stop', async (t) => {
  const mount = await fakeMount(t)
  const { paths } = mount
  mount.keeper.write('a', 'a')
  const first = await mount.commit()
  await mount.kill()
  writeFileSync(join(paths.tree, 'a'), 'b')
  linkSync(join(paths.tree, 'a'), join(paths.tree, 'second name'))
  const again = await fakeMount(t, { store: paths.store, clean: false })
  await waitFor('the scan', () => again.log.some((line) => line.includes('stamps compared')))
  const second = await again.commit()
  assert.notEqual(second.tree, first.tree)
  assert.equal(again.keeper.objects().length, 1)
})

test('a store that began from another root refuses --from', async (t) => {
  const mount = await fakeMount(t)
  mount.keeper.write('a', 'a')
  const { root } = await mount.commit()
  await mount.drain()
  const again = await fakeMount(t, {
    store: mount.paths.store,
    config: daemonConfig({ from: root }),
    early: true,
  })
  assert.equal(await again.exit, 1)
  assert.match(again.keeper.failure?.message ?? '', /holds other content/)
})

test('a root that is no CID, is not here, or no root, fails with one line', async (t) => {
  const cases: [string, number, RegExp][] = [
    ['banana', 2, /no CID/],
    ['bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq', 1, /cannot be found|no commit/],
  ]
  for (const [from, exit, message] of cases) {
    const mount = await fakeMount(t, { config: daemonConfig({ from }), early: true })
    assert.equal(await mount.exit, exit)
    assert.equal(mount.keeper.failure?.exit, exit)
    assert.match(mount.keeper.failure?.message ?? '', message)
    assert.deepEqual(readdirSync(mount.paths.tree), [])
  }
})

test('a second mount opens the root of the first, and commits the same tree', async (t) => {
  const open = { gate: OPEN_GATE, fetchDeadlineMs: 30_000 }
  const first = await fakeMount(t, { config: daemonConfig(open) })
  first.keeper.mkdir('models/empty')
  first.keeper.write('models/a', 'x'.repeat(3_000_000))
  first.keeper.write('models/b', 'small')
  first.keeper.chmod('models/b', 0o755)
  first.keeper.symlink('a', 'models/link')
  const { root, tree } = await first.commit()
  const { address } = (await first.call('share')) as { address: string }

  const second = await fakeMount(t, {
    config: daemonConfig({ ...open, from: root, peers: [address] }),
  })
  assert.deepEqual((await second.commit()).root, root)
  await second.keeper.list('')
  assert.deepEqual(readdirSync(second.paths.tree), ['models'])
  second.keeper.markAll()
  assert.equal((await second.commit()).root, root)
  await second.keeper.list('models')
  second.keeper.markAll()
  const listed = await second.commit()
  assert.equal(listed.tree, tree)
  assert.equal(listed.root, root)
  const status = (await second.call('status')) as Status
  assert.equal(status.tree.placeholders, 2)
  assert.equal(status.tree.missingBytes, 3_000_005)

  const id = second.keeper.idOf('models/a')
  const filled = await second.keeper.request('fill', {
    path: 'models/a',
    ino: id.ino.toString(),
    btime: id.btimeNs.toString(),
    offset: '0',
    length: '3000000',
  })
  assert.equal(filled.complete, true)
  assert.equal(readFileSync(join(second.paths.tree, 'models/a'), 'latin1'), 'x'.repeat(3_000_000))
  await waitFor('the row of the completed file', () => second.keeper.objects().length === 1)
  second.keeper.mkdir('models/new')
  second.keeper.rename('models/b', 'models/new/moved')
  const third = await second.commit()
  assert.notEqual(third.tree, tree)
  const { settle } = (await second.call('status')) as unknown as { settle: { hashedBytes: number } }
  assert.equal(settle.hashedBytes, 0)
  second.keeper.rename('models/new/moved', 'models/b')
  second.keeper.rmdir('models/new')
  const fourth = await second.commit()
  assert.equal(fourth.tree, tree)
})
