import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { CID } from 'multiformats/cid'
import { createLogger } from '../../src/base/index.ts'
import { DirtyLog } from '../../src/mount/local/dirty-log.ts'
import {
  createStore,
  decodeRecord,
  EXTENT_BYTES,
  ExtentMap,
  encodeRecord,
} from '../../src/tree/index.ts'
import { repositoryRoot, tempDir } from '../support/index.ts'

/** What the keeper is tested with as well (native/src/format_vectors.rs). */
interface Vectors {
  records: {
    name: string
    hex: string
    kind: 'file' | 'directory'
    mode: number
    sizeBytes: string
    mtimeNs: string
    cid: string
    metaCid: string | null
    commitCid: string | null
  }[]
  refusedRecords: { name: string; hex: string }[]
  extentMaps: { name: string; hex: string; sizeBytes: string; present: [string, string][] }[]
  dirtyLogs: { name: string; text: string; noted: [string, string][] }[]
}

const VECTORS = JSON.parse(
  readFileSync(join(repositoryRoot, 'test/vectors/store-formats.json'), 'utf8'),
) as Vectors
const ID = { ino: 12n, btimeNs: 34n }

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const cidOf = (text: string | null) => (text === null ? undefined : CID.parse(text))

describe('the record of a placeholder', () => {
  for (const { name, hex, kind, mode, ...row } of VECTORS.records) {
    it(`of ${name} is read and written as the keeper does`, () => {
      const record = {
        kind,
        mode,
        sizeBytes: Number(row.sizeBytes),
        mtimeNs: BigInt(row.mtimeNs),
        cid: CID.parse(row.cid),
        metaCid: cidOf(row.metaCid),
        commitCid: cidOf(row.commitCid),
      }
      assert.equal(hexOf(encodeRecord(record)), hex)
      const { cid, metaCid, commitCid, ...rest } = decodeRecord(bytesOf(hex))
      assert.deepEqual(rest, { kind, mode, sizeBytes: record.sizeBytes, mtimeNs: record.mtimeNs })
      assert.deepEqual(
        [cid, metaCid, commitCid].map((one) => one?.toString() ?? null),
        [row.cid, row.metaCid, row.commitCid],
      )
    })
  }

  for (const { name, hex } of VECTORS.refusedRecords) {
    it(`is not ${name}`, () => {
      assert.throws(() => decodeRecord(bytesOf(hex)), { code: 'malformed', errno: 'EIO' })
    })
  }
})

describe('the extent map', () => {
  for (const { name, hex, sizeBytes, present } of VECTORS.extentMaps) {
    it(`of a file of which ${name}`, async (t) => {
      const size = Number(sizeBytes)
      const indexes = present.map(([start]) => Number(start) / EXTENT_BYTES)
      const found = tempDir(t)
      writeFileSync(join(found, '12-34'), bytesOf(hex))
      const read = await ExtentMap.open(found, ID, size)
      const all = Array.from({ length: read.count }, (_, index) => index)
      assert.deepEqual(
        all.filter((index) => read.has(index)),
        indexes,
      )

      if (indexes.length > 0) {
        const made = tempDir(t)
        const map = await ExtentMap.open(made, ID, size)
        await map.markDurable(indexes)
        assert.equal(readFileSync(join(made, '12-34'), 'hex'), hex)
      }
    })
  }
})

describe('the dirty log', () => {
  for (const { name, text, noted } of VECTORS.dirtyLogs) {
    it(`with ${name}`, async (t) => {
      const paths = await createStore(join(tempDir(t), 'store'))
      writeFileSync(paths.dirtyLog, text)
      const log = new DirtyLog(paths, createLogger({ level: 'error', write: () => undefined }))
      try {
        assert.deepEqual(
          log.noted().toSorted((a, b) => Number(a.ino - b.ino)),
          noted.map(([ino, btime]) => ({ ino: BigInt(ino), btimeNs: BigInt(btime) })),
        )
      } finally {
        log.close()
      }
    })
  }
})
