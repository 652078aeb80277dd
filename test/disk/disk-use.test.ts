import assert from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { link, lstat, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDatabase } from '../../src/tree/index.ts'
import { has, type Mount, waitFor, withMount } from '../support/index.ts'
import { diskUseBytes } from './disk-use.ts'

const MIB = 1024 * 1024
/** Settling a gigabyte reads and hashes it, on a disk and a machine that others use as well. */
const COMMIT_DEADLINE_MS = 120_000
const FREE_DEADLINE_MS = 30_000

/** Writes random bytes and gives the SHA-256 of the first leaf. */
async function writeRandom(path: string, sizeBytes: number): Promise<Buffer> {
  const file = await open(path, 'w')
  let first: Buffer | undefined
  try {
    const chunk = Buffer.alloc(8 * MIB)
    for (let offset = 0; offset < sizeBytes; offset += chunk.length) {
      randomFillSync(chunk)
      first ??= createHash('sha256').update(chunk.subarray(0, MIB)).digest()
      await file.write(chunk, 0, Math.min(chunk.length, sizeBytes - offset))
    }
  } finally {
    await file.close()
  }
  if (first === undefined) throw new Error('no byte was to be written')
  return first
}

/** Commits until nothing is open or dirty; a large file is settled in the background meanwhile. */
function settleAll(mount: Mount) {
  const settled = async () => {
    const answer = await mount.commit()
    return answer.dirty === 0 && answer.open.length === 0 ? answer : undefined
  }
  return waitFor('everything to be settled', settled, COMMIT_DEADLINE_MS)
}

function storeShrinks(store: string, belowBytes: number): Promise<number> {
  const look = async () => {
    const bytes = await diskUseBytes(store)
    return bytes < belowBytes ? Math.max(bytes, 1) : undefined
  }
  return waitFor(`${store} to take less than ${belowBytes} bytes`, look, FREE_DEADLINE_MS)
}

/** The places that the leaf index knows of a leaf; only while the store is not mounted. */
async function placesOf(store: string, digest: Buffer): Promise<number> {
  const database = await openDatabase(join(store, 'db'))
  try {
    return (await database.leaves.find(digest)).length
  } finally {
    await database.close()
  }
}

test('a gigabyte takes a gigabyte once it is committed, and nothing once it is removed', async (t) => {
  if (!has(t, 'fuse')) return
  const sizeBytes = 1024 * MIB
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'model.safetensors')
  const leaf = await writeRandom(path, sizeBytes)
  const before = await lstat(path)

  await t.test('committed, it takes less than 1.02 times its size', async () => {
    await settleAll(mount)
    const bytes = await diskUseBytes(mount.store)
    assert.ok(bytes >= sizeBytes && bytes < 1.02 * sizeBytes, `${bytes} bytes`)
    assert.equal((await readdir(join(mount.store, 'objects'))).length, 1)
  })
  await t.test('the store’s own link to it is not seen', async () => {
    const { nlink, ino, mtimeMs } = await lstat(path)
    assert.deepEqual([nlink, ino, mtimeMs], [1, before.ino, before.mtimeMs])
  })
  await t.test('a hard link, and a commit of it, take nothing more', async () => {
    await link(path, join(mount.mountpoint, 'same.safetensors'))
    await settleAll(mount)
    assert.equal((await lstat(path)).nlink, 2)
    const bytes = await diskUseBytes(mount.store)
    assert.ok(bytes < 1.02 * sizeBytes, `${bytes} bytes`)
    assert.equal((await readdir(join(mount.store, 'objects'))).length, 1)
    const { store_usage } = await mount.status()
    assert.ok(store_usage.blockBytes + store_usage.indexBytes < 0.02 * sizeBytes)
  })
  await t.test('the leaf index knows where it is', async () => {
    await mount.unmount()
    assert.equal(await placesOf(mount.store, leaf), 1)
    await mount.mount([])
  })
  await t.test('one of two names removed frees nothing, the last one all', async () => {
    await rm(path)
    await settleAll(mount)
    assert.ok((await diskUseBytes(mount.store)) >= sizeBytes)
    await rm(join(mount.mountpoint, 'same.safetensors'))
    await settleAll(mount)
    await storeShrinks(mount.store, 0.02 * sizeBytes)
    assert.deepEqual(await readdir(join(mount.store, 'objects')), [])
  })
  await t.test('and the leaf index has forgotten it', async () => {
    await mount.unmount()
    assert.equal(await placesOf(mount.store, leaf), 0)
  })
})

test('a file that is replaced again and again takes its size once', async (t) => {
  if (!has(t, 'fuse')) return
  const sizeBytes = 96 * MIB
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'model.bin')
  const leaves: Buffer[] = []
  for (let version = 0; version < 4; version += 1) {
    const next = join(mount.mountpoint, `model.bin.${version}`)
    leaves.push(await writeRandom(next, sizeBytes))
    await rename(next, path)
    await settleAll(mount)
    await storeShrinks(mount.store, 1.05 * sizeBytes)
  }
  assert.equal((await readdir(join(mount.store, 'objects'))).length, 1)
  await mount.unmount()
  const places = []
  for (const leaf of leaves) places.push(await placesOf(mount.store, leaf))
  assert.deepEqual(places, [0, 0, 0, 1])
})

test('a file that is written in place again and again takes its size once', async (t) => {
  if (!has(t, 'fuse')) return
  const sizeBytes = 48 * MIB
  const mount = await withMount(t)
  const path = join(mount.mountpoint, 'model.bin')
  const leaves: Buffer[] = []
  for (let version = 0; version < 3; version += 1) {
    leaves.push(await writeRandom(path, sizeBytes))
    await settleAll(mount)
    await storeShrinks(mount.store, 1.05 * sizeBytes)
  }
  await mount.unmount()
  const places = []
  for (const leaf of leaves) places.push(await placesOf(mount.store, leaf))
  assert.deepEqual(places, [0, 0, 1])
})

test('what is fetched is on the disk once, and what is not takes nothing', async (t) => {
  if (!has(t, 'fuse')) return
  const sizeBytes = 64 * MIB
  const first = await withMount(t)
  await writeRandom(join(first.mountpoint, 'read.bin'), sizeBytes)
  await writeRandom(join(first.mountpoint, 'unread.bin'), sizeBytes)
  const { root } = await settleAll(first)
  const { address } = await first.share()
  const second = await withMount(t, { args: ['--from', root, '--peer', address] })
  const path = join(second.mountpoint, 'read.bin')
  const bytes = await readFile(path)
  assert.ok(bytes.equals(await readFile(join(first.mountpoint, 'read.bin'))))
  await settleAll(second)
  assert.equal((await lstat(join(second.mountpoint, 'unread.bin'))).size, sizeBytes)
  const used = await diskUseBytes(second.store)
  assert.ok(used >= sizeBytes && used < 1.05 * sizeBytes, `${used} bytes`)

  await rm(path)
  await settleAll(second)
  await storeShrinks(second.store, 0.05 * sizeBytes)
  await writeFile(path, 'another one')
  assert.equal((await settleAll(second)).dirty, 0)
})
