import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  has,
  isAlive,
  type Mount,
  mountpointsBelow,
  repositoryRoot,
  runOk,
  start,
  waitFor,
  withMount,
} from '../support/index.ts'

const LOAD = join(repositoryRoot, 'test/posix/python/load.py')

/** A pause of a program that is longer is a hang: the longest that a fetch may take by default. */
const HANG_MS = 30_000

const MIB = 1024 * 1024

interface LoadResult {
  wrong: unknown[]
  longest: number
  names: number
}

test('complete files are read past us: no read is served, opens are passed through', async (t) => {
  if (!has(t, 'fuse', 'passthrough')) return
  const mount = await withMount(t)
  const bytes = randomBytes(8 * MIB)
  const path = join(mount.mountpoint, 'model.bin')
  writeFileSync(path, bytes)
  for (const state of ['new', 'committed']) {
    if (state === 'committed') await mount.commitAll()
    const before = (await mount.status()).served
    const { stdout } = await runOk('sha256sum', [path], { env: mount.env })
    const { served, passthrough } = await mount.status()
    assert.equal(passthrough.active, true, passthrough.reason)
    assert.equal(stdout.split(' ')[0], createHash('sha256').update(bytes).digest('hex'), state)
    assert.equal(served.reads, before.reads, `${state}: reads that came to the keeper`)
    assert.equal(served.readBytes, before.readBytes, `${state}: bytes that came by the keeper`)
    assert.ok(served.passthroughOpens > before.passthroughOpens, `${state}: passed through`)
  }
  assert.equal((await mount.status()).served.writes, 0, 'writes that came to the keeper')
})

for (const [what, name, size] of [
  ['creates', 'many', 1000],
  ['write', 'large.bin', 256],
] as const) {
  test(`kill -9 of the daemon, again and again, during ${what}: no error, no hang`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const mount = await withMount(t)
    const path = join(mount.mountpoint, name)
    const client = start('python3', ['-B', LOAD, what, path, String(size)], { env: mount.env })
    let ended = false
    const end = client.finished.finally(() => {
      ended = true
    })
    await waitFor('the client to be under way', () => ended || client.output().includes('begun'))
    let kills = 0
    do {
      await mount.killDaemon()
      kills += 1
    } while (!ended && kills < 5)
    const { code, stdout, stderr } = await end
    assert.equal(code, 0, stderr)
    const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as LoadResult
    assert.deepEqual(result.wrong, [], 'what is not what was written')
    assert.equal(result.names, what === 'creates' ? size : 1)
    assert.ok(result.longest < HANG_MS, `a pause of ${result.longest} ms`)
    t.diagnostic(`${kills} kills, longest pause ${result.longest.toFixed(0)} ms`)

    await waitFor('a daemon that serves again', async () => (await mount.status()).pid > 0)
    const { dirty } = await mount.commitAll()
    assert.equal(dirty, 0)
  })
}

test('SIGTERM to the keeper commits and unmounts, and everything is there again', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'file')
  writeFileSync(path, 'settled by the end')
  const { pid, keeperPid } = await mount.status()
  process.kill(keeperPid, 'SIGTERM')
  await waitFor('the mount to be gone', () => mountpointsBelow(mount.mountpoint).length === 0)
  await waitFor('both processes to end', () => !isAlive(pid) && !isAlive(keeperPid))
  await assertRemounted(mount, path)
})

async function assertRemounted(mount: Mount, path: string): Promise<void> {
  await mount.mount()
  assert.equal(readFileSync(path, 'utf8'), 'settled by the end')
  const { dirty, root } = await mount.status()
  assert.equal(dirty.files, 0, 'it was committed before the unmount')
  assert.notEqual(root.cid, '')
}
