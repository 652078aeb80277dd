import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { createPlaceholders, createStore, readRecord } from '../../src/tree/index.ts'
import { has, makeTempDir, removeTempDir, waitFor } from '../support/index.ts'
import { PortableMount, type StartOptions } from './portable-mount.ts'

const RAW = 0x55
const MIB = 1024 * 1024
const SIZE = 3 * MIB + 77
const MTIME_NS = 1_600_000_000_123_456_789n

interface RemoteFile {
  mount: PortableMount
  bytes: Buffer
  /** Of the placeholder, through the mount. */
  path: string
}

/** A mount whose one file is still elsewhere. */
async function remoteFile(t: TestContext, options: StartOptions = {}): Promise<RemoteFile> {
  const base = makeTempDir()
  const bytes = randomBytes(SIZE)
  const cid = CID.createV1(RAW, await sha256.digest(bytes))
  mkdirSync(join(base, 'sources'))
  writeFileSync(join(base, 'sources', cid.toString()), bytes)
  const paths = await createStore(join(base, 'store'))
  const record = { kind: 'file', cid, mode: 0o640, sizeBytes: SIZE, mtimeNs: MTIME_NS } as const
  await createPlaceholders(paths.tree, [{ type: 'f', name: 'model', record }], paths)
  const mount = await PortableMount.start(t, { base, ...options })
  t.after(() => removeTempDir(base))
  return { mount, bytes, path: mount.at('model') }
}

function isRemote({ mount }: RemoteFile, name = 'model'): boolean {
  return readRecord(mount.disk(name)) !== undefined
}

describe('placeholders in the portable engine', () => {
  it('are what their records say, and are fetched when they are read', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    const before = statSync(file.path, { bigint: true })
    assert.equal(before.size, BigInt(SIZE))
    assert.equal(before.mtimeNs, MTIME_NS)
    assert.equal(before.mode & 0o7777n, 0o640n)
    assert.ok(isRemote(file))
    assert.deepEqual(readFileSync(file.path), file.bytes)
    assert.ok(!isRemote(file))
    const after = statSync(file.path, { bigint: true })
    assert.deepEqual([after.size, after.mtimeNs, after.mode], [before.size, MTIME_NS, before.mode])
    assert.deepEqual(readFileSync(file.mount.disk('model')), file.bytes)
  })

  it('give a part without the rest', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    const fd = openSync(file.path, constants.O_RDONLY | constants.O_DIRECT)
    const bytes = Buffer.alloc(4096)
    readSync(fd, bytes, 0, 4096, MIB)
    assert.deepEqual(bytes, file.bytes.subarray(MIB, MIB + 4096))
    assert.ok(isRemote(file))
    closeSync(fd)
  })

  it('are complete before they are written to', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    const fd = openSync(file.path, 'r+')
    assert.ok(!isRemote(file))
    writeSync(fd, 'changed', 2 * MIB)
    closeSync(fd)
    const expected = Buffer.from(file.bytes)
    expected.write('changed', 2 * MIB)
    assert.deepEqual(readFileSync(file.path), expected)
    await waitFor('to be told of it', () =>
      file.mount.events.some((event) => event.event === 'changed' && event.kind === 'dirty'),
    )
  })

  it('keep what a truncation leaves of them', async (t) => {
    if (!has(t, 'fuse')) return
    for (const size of [0, 5, MIB + 1, SIZE, SIZE + 10]) {
      const file = await remoteFile(t)
      truncateSync(file.path, size)
      const expected = Buffer.alloc(size)
      file.bytes.copy(expected)
      assert.deepEqual(readFileSync(file.path), expected, `cut to ${size}`)
      assert.ok(!isRemote(file))
    }
  })

  it('are emptied by O_TRUNC, without being fetched', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    writeFileSync(file.path, 'new')
    assert.equal(readFileSync(file.mount.disk('model'), 'utf8'), 'new')
    assert.equal(statSync(file.path).mode & 0o7777, 0o640)
  })

  it('get another mode and mtime without being fetched, and keep them', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    chmodSync(file.path, 0o600)
    utimesSync(file.path, 5, 7)
    assert.ok(isRemote(file))
    assert.deepEqual(readFileSync(file.path), file.bytes)
    const { mode, mtimeMs } = statSync(file.path)
    assert.deepEqual([mode & 0o7777, mtimeMs], [0o600, 7000])
  })

  it('go on being read under another name, by a link and without a name', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t)
    linkSync(file.path, file.mount.at('link'))
    renameSync(file.path, file.mount.at('renamed'))
    assert.ok(isRemote(file, 'renamed'))
    const fd = openSync(file.mount.at('renamed'), 'r')
    unlinkSync(file.mount.at('renamed'))
    unlinkSync(file.mount.at('link'))
    assert.deepEqual(readFileSync(fd), file.bytes)
    closeSync(fd)
  })

  it('fail with EIO at the deadline, and keep nobody else waiting', async (t) => {
    if (!has(t, 'fuse')) return
    const file = await remoteFile(t, { fetchDeadlineMs: 1 })
    await file.mount.ask({ order: 'hold' })
    const reading = readFile(file.path)
    writeFileSync(file.mount.at('other'), 'served')
    assert.equal(readFileSync(file.mount.at('other'), 'utf8'), 'served')
    await assert.rejects(reading, { code: 'EIO' })
    assert.ok(isRemote(file))
  })
})
