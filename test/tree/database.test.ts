import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type Database, type FileRow, openDatabase } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'
import { digestOf, rawCid } from './fixtures.ts'

const id = { ino: 12n, btimeNs: 1_700_000_000_000_000_001n }
const other = { ino: 12n, btimeNs: 5n }
const row: FileRow = {
  stamp: { sizeBytes: 3, mtimeNs: -5n, ctimeNs: 1_700_000_000_000_000_002n },
  cid: rawCid('content'),
  tsizeBytes: 3,
  oid: 7n,
  sha256: digestOf('content'),
  gitSha1: new Uint8Array(20).fill(1),
}

async function open(t: TestContext, dir = join(tempDir(t), 'db')): Promise<Database> {
  const database = await openDatabase(dir)
  t.after(() => database.close())
  return database
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) {
    found.push(item)
  }
  return found
}

describe('the table of files', () => {
  it('keeps rows apart by inode and birth time', async (t) => {
    const { files } = await open(t)
    const plain = { ...row, oid: null, sha256: undefined, gitSha1: undefined }
    await files.put(id, row)
    await files.put(other, plain)
    assert.deepEqual(await files.get(id), row)
    assert.deepEqual(await files.get(other), plain)
    assert.equal((await all(files.entries())).length, 2)
    await files.delete(id)
    await files.delete(id)
    assert.equal(await files.get(id), undefined)
    assert.deepEqual(await all(files.entries()), [[other, plain]])
  })

  it('renews a stamp only where the old one is in the row', async (t) => {
    const { files } = await open(t)
    const next = { ...row.stamp, ctimeNs: 9n }
    assert.equal(await files.renewStamp(id, row.stamp, next), false)
    await files.put(id, row)
    assert.equal(await files.renewStamp(id, next, next), false)
    assert.equal(await files.renewStamp(id, row.stamp, next), true)
    assert.deepEqual(await files.get(id), { ...row, stamp: next })
  })

  it('does not bring a row back that is deleted while its stamp is renewed', async (t) => {
    const { files } = await open(t)
    await files.put(id, row)
    await Promise.all([
      files.renewStamp(id, row.stamp, { ...row.stamp, ctimeNs: 9n }),
      files.delete(id),
    ])
    assert.equal(await files.get(id), undefined)
  })

  it('is there again after it was closed', async (t) => {
    const dir = join(tempDir(t), 'db')
    const first = await openDatabase(dir)
    await first.files.put(id, row)
    await first.sync()
    await first.close()
    await first.close()
    const second = await open(t, dir)
    assert.equal(second.recovery, 'none')
    assert.deepEqual(await second.files.get(id), row)
  })
})

describe('the table of directories', () => {
  it('keeps what was carried', async (t) => {
    const { directories } = await open(t)
    const directory = {
      cid: rawCid('d'),
      metaCid: rawCid('m'),
      tsizeBytes: 2 ** 40,
      mode: 0o1777,
      mtimeNs: 5n,
      carried: [{ name: 'größe', cid: rawCid('c') }],
    }
    await directories.put(id, directory)
    await directories.put(other, { ...directory, metaCid: undefined, carried: [] })
    assert.deepEqual(await directories.get(id), directory)
    assert.equal((await directories.get(other))?.metaCid, undefined)
    assert.equal((await all(directories.entries())).length, 2)
    await directories.delete(id)
    assert.equal(await directories.get(id), undefined)
  })
})

describe('the leaf index', () => {
  const leaf = (text: string, offset: number) => ({ digest: digestOf(text), offset, length: 10 })

  it('knows every place of a digest, and drops those of one object only', async (t) => {
    const { leaves } = await open(t)
    await leaves.put(1n, [leaf('a', 0), leaf('b', 10), leaf('a', 20)])
    await leaves.put(2n, [leaf('a', 0)])
    await leaves.put(300n, [leaf('a', 5)])
    const places = [
      { oid: 1n, offset: 0, length: 10 },
      { oid: 1n, offset: 20, length: 10 },
      { oid: 2n, offset: 0, length: 10 },
      { oid: 300n, offset: 5, length: 10 },
    ]
    assert.deepEqual(await leaves.find(digestOf('a')), places)
    await leaves.drop(1n)
    assert.deepEqual(await leaves.find(digestOf('a')), places.slice(2))
    assert.deepEqual(await leaves.find(digestOf('b')), [])
    await leaves.drop(2n)
    await leaves.drop(2n)
    assert.deepEqual(await leaves.find(digestOf('a')), places.slice(3))
  })

  it('replaces the leaves of an object', async (t) => {
    const { leaves } = await open(t)
    await leaves.put(1n, [leaf('old', 0), leaf('same', 10)])
    await leaves.put(1n, [leaf('new', 0), leaf('same', 10)])
    assert.deepEqual(await leaves.find(digestOf('old')), [])
    assert.equal((await leaves.find(digestOf('new'))).length, 1)
    assert.equal((await leaves.find(digestOf('same'))).length, 1)
  })

  it('holds a file of 10 GB, and lets it go', async (t) => {
    const { leaves } = await open(t)
    const many = function* () {
      for (let index = 0; index < 10_000; index += 1) {
        yield leaf(`leaf ${index}`, index * 2 ** 20)
      }
    }
    await leaves.put(5n, many())
    await leaves.put(6n, [leaf('leaf 9999', 0)])
    const place = { oid: 5n, offset: 9999 * 2 ** 20, length: 10 }
    assert.deepEqual((await leaves.find(digestOf('leaf 9999')))[0], place)
    await leaves.drop(5n)
    assert.deepEqual(await leaves.find(digestOf('leaf 0')), [])
    assert.equal((await leaves.find(digestOf('leaf 9999'))).length, 1)
  })

  it('gives a bounded number of places of a block that lies everywhere', async (t) => {
    const { leaves } = await open(t)
    await leaves.put(
      1n,
      [...Array(500).keys()].map((index) => leaf('zeros', index)),
    )
    assert.equal((await leaves.find(digestOf('zeros'))).length, 64)
    assert.deepEqual(await leaves.find(new Uint8Array(20)), [])
  })
})

describe('objects', () => {
  it('never get a number twice, whatever happens', async (t) => {
    const dir = join(tempDir(t), 'db')
    const seen = new Set<bigint>()
    for (let start = 0; start < 3; start += 1) {
      const database = await openDatabase(dir)
      const numbers = await Promise.all([...Array(1500)].map(() => database.objects.nextOid()))
      for (const oid of numbers) {
        assert.ok(!seen.has(oid))
        seen.add(oid)
      }
      await database.close()
    }
    const { objects } = await open(t, dir)
    await objects.raiseOid(1_000_000n)
    await objects.raiseOid(5n)
    assert.equal(await objects.nextOid(), 1_000_001n)
  })

  it('are known by inode and by CID, also after the row of the file went', async (t) => {
    const { files, objects } = await open(t)
    await files.put(id, row)
    await files.delete(id)
    assert.equal(await objects.objectOf(id), 7n)
    assert.deepEqual(await objects.byCid(row.cid), [{ oid: 7n, id, cid: row.cid }])
    await files.put(id, { ...row, cid: rawCid('second') })
    assert.deepEqual(await objects.byCid(row.cid), [])
    assert.deepEqual(await all(objects.entries()), [{ oid: 7n, id, cid: rawCid('second') }])
    await objects.delete(7n)
    await objects.delete(7n)
    assert.equal(await objects.objectOf(id), undefined)
    assert.deepEqual(await objects.byCid(rawCid('second')), [])
  })

  it('of an inode are the newest one, and stay so when an older one goes', async (t) => {
    const { objects } = await open(t)
    await objects.put({ oid: 1n, id, cid: rawCid('a') })
    await objects.put({ oid: 2n, id, cid: rawCid('a') })
    assert.equal((await objects.byCid(rawCid('a'))).length, 2)
    await objects.delete(1n)
    assert.equal(await objects.objectOf(id), 2n)
  })
})

describe('secrets', () => {
  it('stick to the inode', async (t) => {
    const { secrets } = await open(t)
    assert.equal(await secrets.has(id), false)
    await secrets.add(id)
    assert.equal(await secrets.has(id), true)
    assert.equal(await secrets.has(other), false)
    await secrets.delete(id)
    assert.equal(await secrets.has(id), false)
  })
})

describe('openDatabase', () => {
  it('refuses a database that somebody has open', async (t) => {
    const dir = join(tempDir(t), 'db')
    await open(t, dir)
    await assert.rejects(openDatabase(dir), { code: 'database-locked' })
  })

  it('goes on with a damaged database, and says so', async (t) => {
    const dir = join(tempDir(t), 'db')
    const first = await openDatabase(dir)
    await first.files.put(id, row)
    await first.close()
    for (const name of await readdir(dir)) {
      if (name.startsWith('MANIFEST') || name === 'CURRENT') {
        await writeFile(join(dir, name), 'damaged')
      }
    }
    const second = await open(t, dir)
    assert.notEqual(second.recovery, 'none')
    await second.files.put(other, row)
    assert.deepEqual(await second.files.get(other), row)
  })
})
