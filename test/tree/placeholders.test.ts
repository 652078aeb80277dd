import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import {
  clearUnlisted,
  completePlaceholder,
  createPlaceholders,
  markUnlisted,
  type PlaceholderEntry,
  type PlaceholderRecord,
  readRecord,
  stampOf,
} from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'
import { rawCid } from './fixtures.ts'

const MTIME = 1_600_000_000_987_654_321n

function record(name: string, changes: Partial<PlaceholderRecord> = {}): PlaceholderRecord {
  return {
    kind: 'file',
    cid: rawCid(name),
    metaCid: undefined,
    commitCid: undefined,
    mode: 0o644,
    sizeBytes: 5,
    mtimeNs: MTIME,
    ...changes,
  }
}

function file(name: string, changes: Partial<PlaceholderRecord> = {}): PlaceholderEntry {
  return { type: 'f', name, record: record(name, changes) }
}

function directory(name: string, mode = 0o755): PlaceholderEntry {
  const meta = rawCid(`${name} meta`)
  return { type: 'd', name, record: record(name, { kind: 'directory', mode, metaCid: meta }) }
}

async function places(t: TestContext): Promise<{ dir: string; staging: string }> {
  const root = tempDir(t)
  const [dir, staging] = [join(root, 'tree'), join(root, 'staging')]
  await mkdir(dir)
  await mkdir(staging)
  return { dir, staging }
}

describe('createPlaceholders', () => {
  it('makes files, directories and links that carry what they stand for', async (t) => {
    const { dir, staging } = await places(t)
    const entries: PlaceholderEntry[] = [
      file('weights', { sizeBytes: 2 ** 40 }),
      file('empty', { sizeBytes: 0 }),
      file('read only', { mode: 0o444 }),
      directory('größe', 0o555),
      { type: 'l', name: 'link', target: '../blobs/x', mtimeNs: MTIME },
    ]
    const { created, kept } = await createPlaceholders(dir, entries, { staging })
    assert.deepEqual([created, kept], [5, []])
    for (const entry of entries) {
      if (entry.type !== 'l') {
        assert.deepEqual(readRecord(join(dir, entry.name)), entry.record)
      }
    }
    const weights = await lstat(join(dir, 'weights'), { bigint: true })
    assert.deepEqual([weights.size, weights.mtimeNs, weights.nlink], [2n ** 40n, MTIME, 1n])
    assert.ok(weights.blocks < 64n)
    assert.equal((await stat(join(dir, 'read only'))).mode & 0o777, 0o644)
    assert.equal((await stat(join(dir, 'größe'))).mode & 0o777, 0o755)
    assert.equal(await readlink(join(dir, 'link')), '../blobs/x')
    assert.equal((await lstat(join(dir, 'link'), { bigint: true })).mtimeNs, MTIME)
    assert.deepEqual(await readdir(staging), [])
  })

  it('leaves what is there as it is', async (t) => {
    const { dir, staging } = await places(t)
    await writeFile(join(dir, 'a'), 'mine')
    await mkdir(join(dir, 'b'))
    await symlink('mine', join(dir, 'c'))
    const entries: PlaceholderEntry[] = [
      file('a'),
      directory('b'),
      { type: 'l', name: 'c', target: 'theirs', mtimeNs: 0n },
      file('new'),
    ]
    const first = await createPlaceholders(dir, entries, { staging })
    assert.deepEqual(first, { created: 1, kept: ['a', 'b', 'c'] })
    const second = await createPlaceholders(dir, entries, { staging })
    assert.equal(second.created, 0)
    assert.equal(await readFile(join(dir, 'a'), 'utf8'), 'mine')
    assert.equal(readRecord(join(dir, 'b')), undefined)
    assert.equal(await readlink(join(dir, 'c')), 'mine')
    assert.deepEqual(await readdir(staging), [])
  })

  it('makes thousands without running out of descriptors', async (t) => {
    const { dir, staging } = await places(t)
    const entries = [...Array(2000).keys()].map((index) => file(`file ${index}`))
    await createPlaceholders(dir, entries, { staging })
    assert.equal((await readdir(dir)).length, 2000)
    const open = await readdir('/proc/self/fd')
    assert.ok(open.length < 200)
  })

  for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256), '\ud800']) {
    it(`refuses ${JSON.stringify(name.slice(0, 8))} before it makes anything`, async (t) => {
      const { dir, staging } = await places(t)
      const entries = [file('good'), file(name)]
      await assert.rejects(createPlaceholders(dir, entries, { staging }), { code: 'bad-name' })
      assert.deepEqual(await readdir(dir), [])
    })
  }
})

describe('clearUnlisted', () => {
  it('gives a directory the mode and time of its record once it is listed', async (t) => {
    const { dir, staging } = await places(t)
    await createPlaceholders(dir, [directory('sub', 0o500)], { staging })
    const sub = join(dir, 'sub')
    await createPlaceholders(sub, [file('inside')], { staging })
    await clearUnlisted(sub)
    await clearUnlisted(sub)
    assert.equal(readRecord(sub), undefined)
    const stats = await stat(sub, { bigint: true })
    assert.deepEqual([stats.mtimeNs, stats.mode & 0o777n], [MTIME, 0o500n])
  })

  it('ends what markUnlisted began', async (t) => {
    const { dir } = await places(t)
    const root = record('root', { kind: 'directory', mode: 0o755 })
    await markUnlisted(dir, root)
    assert.deepEqual(readRecord(dir), root)
    await clearUnlisted(dir)
    assert.equal(readRecord(dir), undefined)
  })
})

describe('completePlaceholder', () => {
  it('makes a file that is like a local one', async (t) => {
    const { dir, staging } = await places(t)
    const entry = record('data', { mode: 0o440 })
    await createPlaceholders(dir, [{ type: 'f', name: 'data', record: entry }], { staging })
    const path = join(dir, 'data')
    const handle = await open(path, 'r+')
    await handle.write('12345')
    const stamp = await completePlaceholder(handle.fd, entry)
    await handle.close()
    const stats = await stat(path, { bigint: true })
    assert.deepEqual(stamp, stampOf(stats))
    assert.deepEqual([stats.mode & 0o7777n, stats.mtimeNs], [0o440n, MTIME])
    assert.equal(readRecord(path), undefined)
    assert.equal(await readFile(path, 'utf8'), '12345')
  })

  it('refuses a file of another size than its record', async (t) => {
    const { dir } = await places(t)
    await writeFile(join(dir, 'data'), '123')
    const fd = openSync(join(dir, 'data'), 'r+')
    t.after(() => closeSync(fd))
    await assert.rejects(completePlaceholder(fd, record('data')), { code: 'size', errno: 'EIO' })
  })
})
