import assert from 'node:assert/strict'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { EXTENT_BYTES, ExtentMap, removeExtentMap } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

const id = { ino: 5n, btimeNs: 6n }
const size = 10 * EXTENT_BYTES + 3

describe('the extent map', () => {
  it('begins with nothing and keeps what was marked', async (t) => {
    const dir = tempDir(t)
    const map = await ExtentMap.open(dir, id, size)
    assert.deepEqual([map.count, map.present, map.complete], [11, 0, false])
    await map.markDurable([0, 10, 3])
    await map.markDurable([3])
    const again = await ExtentMap.open(dir, id, size)
    const present = [...Array(11).keys()].filter((index) => again.has(index))
    assert.deepEqual(present, [0, 3, 10])
    assert.equal(again.present, 3)
  })

  it('has the file format of docs/store.md', async (t) => {
    const dir = tempDir(t)
    const map = await ExtentMap.open(dir, id, size)
    await map.markDurable([0, 9])
    const bytes = await readFile(join(dir, '5-6'))
    assert.equal(bytes.subarray(0, 4).toString(), 'mcx1')
    assert.equal(bytes.readUInt32LE(4), 1_048_576)
    assert.equal(bytes.readBigUInt64LE(8), 11n)
    assert.deepEqual([...bytes.subarray(16)], [1, 2])
  })

  it('says which bytes are missing: whole extents, joined, cut at the end', async (t) => {
    const map = await ExtentMap.open(tempDir(t), id, size)
    await map.markDurable([1, 2])
    const M = EXTENT_BYTES
    const table: [number, number, [number, number][]][] = [
      [0, 1, [[0, M]]],
      [M, 3 * M, []],
      [
        M - 1,
        3 * M + 1,
        [
          [0, M],
          [3 * M, 4 * M],
        ],
      ],
      [10 * M + 1, 99 * M, [[10 * M, size]]],
      [5 * M, 5 * M, []],
      [size, size + 5, []],
    ]
    for (const [start, end, expected] of table) {
      const missing = map.missing({ start, end }).map((range) => [range.start, range.end])
      assert.deepEqual(missing, expected, `${start} to ${end}`)
    }
  })

  it('keeps every mark of many at a time', async (t) => {
    const dir = tempDir(t)
    const map = await ExtentMap.open(dir, id, 500 * EXTENT_BYTES)
    await Promise.all([...Array(500).keys()].map((index) => map.markDurable([index])))
    assert.ok(map.complete)
    assert.ok((await ExtentMap.open(dir, id, 500 * EXTENT_BYTES)).complete)
  })

  it('of an empty file is complete', async (t) => {
    const map = await ExtentMap.open(tempDir(t), id, 0)
    assert.ok(map.complete)
    assert.deepEqual(map.missing({ start: 0, end: 100 }), [])
  })

  it('means nothing when it is torn, foreign, or of another size', async (t) => {
    const dir = tempDir(t)
    const path = join(dir, '5-6')
    const marked = async () => {
      const map = await ExtentMap.open(dir, id, size)
      await map.markDurable([1])
      return (await ExtentMap.open(dir, id, size)).present
    }
    assert.equal(await marked(), 1)
    await truncate(path, 17)
    assert.equal((await ExtentMap.open(dir, id, size)).present, 0)
    await marked()
    await writeFile(path, Buffer.alloc(18))
    assert.equal((await ExtentMap.open(dir, id, size)).present, 0)
    await marked()
    assert.equal((await ExtentMap.open(dir, id, size * 2)).present, 0)
  })

  it('does not count bits behind the last extent', async (t) => {
    const dir = tempDir(t)
    const map = await ExtentMap.open(dir, id, size)
    await map.markDurable([0])
    const bytes = await readFile(join(dir, '5-6'))
    bytes[17] = 0xff
    await writeFile(join(dir, '5-6'), bytes)
    assert.equal((await ExtentMap.open(dir, id, size)).present, 4)
  })

  it('is gone when it is removed, and records nothing after that', async (t) => {
    const dir = tempDir(t)
    const map = await ExtentMap.open(dir, id, size)
    await map.markDurable([0])
    await map.remove()
    await map.remove()
    await map.markDurable([1])
    await removeExtentMap(dir, id)
    assert.deepEqual(await readdir(dir), [])
  })

  it('refuses a size that a stranger made up, and an extent that is none', async (t) => {
    const dir = tempDir(t)
    await assert.rejects(ExtentMap.open(dir, id, Number.MAX_SAFE_INTEGER), { errno: 'EFBIG' })
    const map = await ExtentMap.open(dir, id, size)
    assert.throws(() => map.markDurable([11]), { errno: 'EINVAL' })
  })
})
