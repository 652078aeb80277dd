import assert from 'node:assert/strict'
import { appendFile, mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { createCacheBlockstore, createNodeStore, sha256Of } from '../../src/blocks/index.ts'
import { openDatabase } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text))
const rawCid = (bytes: Uint8Array) => CID.createV1(raw.code, Digest.create(0x12, sha256Of(bytes)))

async function store(t: TestContext) {
  const dir = tempDir(t)
  const objectsDir = join(dir, 'objects')
  await mkdir(objectsDir)
  const database = await openDatabase(join(dir, 'db'))
  t.after(() => database.close())
  const nodes = createNodeStore(join(dir, 'nodes'))
  const blockstore = createCacheBlockstore({ nodes, leaves: database.leaves, objectsDir })
  const leaf = (text: string, offset: number) => {
    const bytes = bytesOf(text)
    return { digest: sha256Of(bytes), offset, length: bytes.length }
  }
  const object = (oid: bigint) => join(objectsDir, oid.toString())
  return { blockstore, nodes, leaves: database.leaves, object, leaf }
}

describe('the block store of a cache', () => {
  it('reads leaves out of the files, at their offsets', async (t) => {
    const { blockstore, leaves, object, leaf } = await store(t)
    await writeFile(object(1n), 'headleaftail')
    await leaves.put(1n, [leaf('head', 0), leaf('leaf', 4), leaf('tail', 8)])
    for (const text of ['head', 'leaf', 'tail']) {
      const cid = rawCid(bytesOf(text))
      assert.ok(await blockstore.has(cid))
      assert.deepEqual(await blockstore.getBytes(cid), bytesOf(text))
    }
  })

  it('tries every place before it says that a leaf is missing', async (t) => {
    const { blockstore, leaves, object, leaf } = await store(t)
    const cid = rawCid(bytesOf('leaf'))
    await writeFile(object(1n), 'rot!')
    await writeFile(object(3n), 'le')
    await writeFile(object(4n), '..leaf')
    await leaves.put(1n, [leaf('leaf', 0)])
    await leaves.put(2n, [leaf('leaf', 0)])
    await leaves.put(3n, [leaf('leaf', 0)])
    await leaves.put(4n, [leaf('leaf', 2)])
    assert.deepEqual(await blockstore.getBytes(cid), bytesOf('leaf'))
    await rm(object(4n))
    await assert.rejects(blockstore.getBytes(cid), { name: 'NotFoundError' })
    assert.equal(await blockstore.has(cid), false)
  })

  it('never gives other bytes than those of the CID', async (t) => {
    const { blockstore, leaves, object, leaf } = await store(t)
    await writeFile(object(1n), 'leaf')
    await leaves.put(1n, [leaf('leaf', 0)])
    await truncate(object(1n), 3)
    await appendFile(object(1n), 'F')
    await assert.rejects(blockstore.getBytes(rawCid(bytesOf('leaf'))), { name: 'NotFoundError' })
  })

  it('has the empty block and identity blocks without any file', async (t) => {
    const { blockstore } = await store(t)
    assert.deepEqual(await blockstore.getBytes(rawCid(new Uint8Array())), new Uint8Array())
    const identity = CID.createV1(raw.code, Digest.create(0, bytesOf('inline')))
    assert.ok(await blockstore.has(identity))
    assert.deepEqual(await blockstore.getBytes(identity), bytesOf('inline'))
  })

  it('keeps what is put among the nodes, if it is what its CID says', async (t) => {
    const { blockstore, nodes } = await store(t)
    const bytes = bytesOf('fetched')
    const cid = rawCid(bytes)
    await assert.rejects(blockstore.put(cid, bytesOf('forged')), { code: 'hash-mismatch' })
    assert.equal(await blockstore.has(cid), false)
    await blockstore.put(cid, [bytes.subarray(0, 3), bytes.subarray(3)])
    assert.deepEqual(await nodes.getBytes(cid), bytes)
    assert.deepEqual(await blockstore.getBytes(cid), bytes)
    await blockstore.delete(cid)
    assert.equal(await blockstore.has(cid), false)
  })

  it('stops when it is told to', async (t) => {
    const { blockstore } = await store(t)
    const cid = rawCid(bytesOf('x'))
    await assert.rejects(blockstore.getBytes(cid, AbortSignal.abort(new Error('stop'))), /stop/)
  })
})
