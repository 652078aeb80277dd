import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { lsetxattr } from '../../src/base/index.ts'
import {
  decodeRecord,
  encodeRecord,
  type PlaceholderRecord,
  RECORD_XATTR,
  readRecord,
} from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'
import { mutate, randomNumbers, rawCid } from './fixtures.ts'

const file: PlaceholderRecord = {
  kind: 'file',
  cid: rawCid('content'),
  metaCid: undefined,
  commitCid: undefined,
  mode: 0o4755,
  sizeBytes: Number.MAX_SAFE_INTEGER,
  mtimeNs: 1_700_000_000_123_456_789n,
}
const directory: PlaceholderRecord = {
  kind: 'directory',
  cid: rawCid('tree'),
  metaCid: rawCid('meta'),
  commitCid: rawCid('commit'),
  mode: 0o700,
  sizeBytes: 0,
  mtimeNs: -1n,
}

function withU32(bytes: Buffer, at: number, value: number): Buffer {
  bytes.writeUInt32LE(value, at)
  return bytes
}

describe('the record of a placeholder', () => {
  for (const record of [file, directory]) {
    it(`of a ${record.kind} comes back as it was`, () => {
      assert.deepEqual(decodeRecord(encodeRecord(record)), record)
    })
  }

  it('has the layout of docs/store.md', () => {
    const bytes = Buffer.from(encodeRecord({ ...file, sizeBytes: 258, mode: 0o644 }))
    const cid = Buffer.from(file.cid.bytes)
    assert.equal(bytes.length, 32 + cid.length)
    assert.deepEqual([...bytes.subarray(0, 8)], [1, 1, cid.length, 0, 0, 0, 0, 0])
    assert.equal(bytes.readUInt32LE(8), 0o644)
    assert.equal(bytes.readBigUInt64LE(12), 258n)
    assert.equal(bytes.readBigInt64LE(20), 1_700_000_000n)
    assert.equal(bytes.readUInt32LE(28), 123_456_789)
    assert.deepEqual(bytes.subarray(32), cid)
  })

  it('has times before 1970 with nanoseconds that count up', () => {
    const bytes = Buffer.from(encodeRecord(directory))
    assert.equal(bytes.readBigInt64LE(20), -1n)
    assert.equal(bytes.readUInt32LE(28), 999_999_999)
  })

  const bad: [string, (bytes: Buffer) => Uint8Array][] = [
    ['nothing', () => new Uint8Array()],
    ['another version', (bytes) => bytes.fill(2, 0, 1)],
    ['another kind', (bytes) => bytes.fill(3, 1, 2)],
    ['no CID', (bytes) => bytes.fill(0, 2, 4).subarray(0, 32)],
    ['a CID that is cut', (bytes) => bytes.subarray(0, -1)],
    ['bytes behind the CID', (bytes) => Buffer.concat([bytes, Buffer.of(0)])],
    ['a CID of 60,000 bytes', (bytes) => bytes.fill(0xea, 2, 4)],
    ['a CID that is none', (bytes) => bytes.fill(0xff, 32)],
    ['a mode with type bits', (bytes) => withU32(bytes, 8, 0o100644)],
    ['a size over 2^53', (bytes) => bytes.fill(0xff, 12, 20)],
    ['10^9 nanoseconds', (bytes) => withU32(bytes, 28, 1e9)],
  ]
  for (const [what, change] of bad) {
    it(`with ${what} is refused with EIO`, () => {
      const bytes = change(Buffer.from(encodeRecord(file)))
      assert.throws(() => decodeRecord(bytes), { code: 'malformed', errno: 'EIO' })
    })
  }

  it('is refused in one way, or sound, after any change', () => {
    const random = randomNumbers(7)
    for (let round = 0; round < 5000; round += 1) {
      const bytes = mutate(encodeRecord(round % 2 === 0 ? file : directory), random)
      try {
        const record = decodeRecord(bytes)
        assert.deepEqual(encodeRecord(record), bytes)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'malformed')
      }
    }
  })
})

describe('readRecord', () => {
  it('gives the record of a file or directory, and none for a complete one', async (t) => {
    const dir = tempDir(t)
    await writeFile(join(dir, 'file'), '')
    await mkdir(join(dir, 'sub'))
    assert.equal(readRecord(join(dir, 'file')), undefined)
    lsetxattr(join(dir, 'file'), RECORD_XATTR, encodeRecord(file))
    lsetxattr(join(dir, 'sub'), RECORD_XATTR, encodeRecord(directory))
    assert.deepEqual(readRecord(join(dir, 'file')), file)
    assert.deepEqual(readRecord(join(dir, 'sub')), directory)
  })

  it('is undefined where the file system has no attributes', () => {
    assert.equal(readRecord('/proc/self/status'), undefined)
  })

  it('throws for what is no record', async (t) => {
    const path = join(tempDir(t), 'file')
    await writeFile(path, '')
    lsetxattr(path, RECORD_XATTR, Uint8Array.of(9))
    assert.throws(() => readRecord(path), { errno: 'EIO' })
  })
})
