import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { has, waitFor, withMount } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { relayedPair } from './pair.ts'

const MODEL = content(24 * MIB, 'the model')
const DEADLINE_S = 30

async function fill(directory: string): Promise<void> {
  await writeFile(join(directory, 'model.bin'), MODEL)
  await mkdir(join(directory, 'folder'))
  await writeFile(join(directory, 'folder', 'inside'), 'inside\n')
}

/** A pair, and a read of the second mount that got some of its bytes and waits for the rest. */
async function stalledRead(t: TestContext) {
  const pair = await relayedPair(t, fill, DEADLINE_S)
  const { second, relay } = pair
  relay.behaveAfter(5 * MIB, 'stall')
  const reading = readFile(join(second.mountpoint, 'model.bin'))
  const ended = { value: false }
  reading.then(
    () => {
      ended.value = true
    },
    () => {
      ended.value = true
    },
  )
  await waitFor('the read to wait', () => relay.behaviour === 'stall')
  return { ...pair, reading, ended }
}

test('the serving daemon is killed in the middle of a read: the read completes', async (t) => {
  if (!has(t, 'fuse')) return
  const { first, second, relay, reading, ended } = await stalledRead(t)
  await first.killDaemon()
  assert.equal(ended.value, false)
  relay.behave('pass')
  assert.ok((await reading).equals(MODEL))
  const { hydrate } = await second.status()
  assert.equal(hydrate.errors, 0)
})

test('the serving machine goes and comes back: so does the read', async (t) => {
  if (!has(t, 'fuse')) return
  const { first, relay, reading, ended } = await stalledRead(t)
  await first.crash()
  relay.behave('pass')
  await waitFor('a try while nobody listens', () => relay.refused > 0)
  assert.equal(ended.value, false)
  await first.mount([])
  assert.ok((await reading).equals(MODEL))
})

test('the fetching daemon is killed in the middle of a read: the read completes', async (t) => {
  if (!has(t, 'fuse')) return
  const { second, relay, reading, ended } = await stalledRead(t)
  const listing = readdir(join(second.mountpoint, 'folder'))
  await second.killDaemon()
  assert.equal(ended.value, false)
  relay.behave('pass')
  assert.ok((await reading).equals(MODEL))
  assert.deepEqual(await listing, ['inside'])
  assert.equal(await readFile(join(second.mountpoint, 'folder/inside'), 'utf8'), 'inside\n')
  assert.equal((await second.status()).restarts, 1)
})

test('the fetching daemon is killed while it lists a directory: no name is lost', async (t) => {
  if (!has(t, 'fuse')) return
  const names = Array.from({ length: 3000 }, (_, index) => `entry ${10_000 + index}`)
  const fillMany = async (at: string) => {
    await mkdir(join(at, 'many'))
    for (const name of names) await writeFile(join(at, 'many', name), name)
  }
  const { second, committed } = await relayedPair(t, fillMany, DEADLINE_S)
  const { pid } = await second.status()
  const listing = readdir(join(second.mountpoint, 'many'))
  await waitFor('the first entries', async () => {
    return (await readdir(join(second.store, 'tree', 'many'))).length > 0
  })
  process.kill(pid, 'SIGKILL')
  assert.deepEqual((await listing).sort(), names)
  assert.equal(
    await readFile(join(second.mountpoint, 'many', 'entry 12345'), 'utf8'),
    'entry 12345',
  )
  assert.equal((await second.commitAll()).root, committed.root)
})

test('the fetching daemon is killed again and again: every byte comes, and all is clean', async (t) => {
  if (!has(t, 'fuse')) return
  const sizes = Array.from({ length: 40 }, (_, index) => 1 + index * 60_000)
  const fillSome = async (at: string) => {
    for (const size of sizes) await writeFile(join(at, `${size}.bin`), content(size, `${size}`))
  }
  const { second, committed, relay } = await relayedPair(t, fillSome, DEADLINE_S)
  const reading = Promise.all(
    sizes.map(async (size) => {
      const bytes = await readFile(join(second.mountpoint, `${size}.bin`))
      assert.ok(bytes.equals(content(size, `${size}`)), `${size}.bin`)
    }),
  )
  // A failure is told where it is awaited, below.
  reading.catch(() => undefined)
  for (const part of [1, 2, 3]) {
    await waitFor('some more bytes', () => relay.passedBytes > part * 4 * MIB)
    await second.killDaemon()
  }
  await reading
  const again = await second.commitAll()
  assert.deepEqual([again.root, again.tree], [committed.root, committed.tree])
  await second.unmount()
  await second.mount([])
  for (const size of sizes) {
    const bytes = await readFile(join(second.mountpoint, `${size}.bin`))
    assert.ok(bytes.equals(content(size, `${size}`)), `${size}.bin, mounted again`)
  }
})

test('inode numbers of directories that are used again do not hinder a commit', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const paths = Array.from({ length: 50 }, (_, index) => join(mount.mountpoint, `d${index}`))
  for (const path of paths) await mkdir(path)
  await mount.killDaemon()
  // The next daemon looks at all that changed, which is not a commit yet.
  await waitFor('the next daemon to have compared', async () => {
    const log = await readFile(join(mount.store, 'log/daemon.log'), 'utf8')
    return log.includes('stamps compared')
  })
  for (const path of paths) await rmdir(path)
  for (const path of paths) await writeFile(path, path)
  const { tree } = await mount.commitAll()
  const plain = await withMount(t)
  for (const path of paths) await writeFile(join(plain.mountpoint, basename(path)), path)
  assert.equal((await plain.commitAll()).tree, tree)
})

test('keeper and daemon are killed in the middle of a read: later reads are right', async (t) => {
  if (!has(t, 'fuse')) return
  const { second, relay, reading, committed } = await stalledRead(t)
  const failed = assert.rejects(reading)
  await second.crash()
  await failed
  relay.behave('pass')
  await second.mount([])
  assert.ok((await readFile(join(second.mountpoint, 'model.bin'))).equals(MODEL))
  assert.deepEqual(await readdir(join(second.mountpoint, 'folder')), ['inside'])
  const again = await second.commitAll()
  assert.deepEqual([again.root, again.tree], [committed.root, committed.tree])
})
