import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { FsBlockstore } from 'blockstore-fs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import {
  createNodeStore,
  MAX_BLOCK_BYTES,
  type NodeStore,
  sha256Of,
} from '../../src/blocks/index.ts'
import { tempDir } from '../support/index.ts'

function block(text: string, cbor = false) {
  const bytes = cbor
    ? dagCbor.encode({ text })
    : dagPb.encode(dagPb.prepare({ Data: Buffer.from(text) }))
  const code = cbor ? dagCbor.code : dagPb.code
  return { cid: CID.createV1(code, Digest.create(0x12, sha256Of(bytes))), bytes }
}

function store(t: TestContext): { nodes: NodeStore; dir: string } {
  const dir = join(tempDir(t), 'nodes')
  return { nodes: createNodeStore(dir), dir }
}

async function pathOf(dir: string): Promise<string> {
  const [folder = ''] = await readdir(dir)
  const [name = ''] = await readdir(join(dir, folder))
  return join(dir, folder, name)
}

describe('the node store', () => {
  it('gives back what was put, and only that', async (t) => {
    const { nodes } = store(t)
    const { cid, bytes } = block('one')
    assert.equal(await nodes.has(cid), false)
    await assert.rejects(nodes.getBytes(cid), { name: 'NotFoundError' })
    assert.equal(await nodes.put(cid, bytes), cid)
    assert.ok(await nodes.has(cid))
    assert.deepEqual(await nodes.getBytes(cid), new Uint8Array(bytes))
    await nodes.delete(cid)
    await nodes.delete(cid)
    assert.equal(await nodes.has(cid), false)
  })

  it('has the layout of blockstore-fs', async (t) => {
    const { nodes, dir } = store(t)
    const { cid, bytes } = block('one')
    await nodes.put(cid, bytes)
    const plain = new FsBlockstore(dir)
    const parts: Uint8Array[] = []
    for await (const part of plain.get(cid)) {
      parts.push(part)
    }
    assert.deepEqual(Buffer.concat(parts), Buffer.from(bytes))
  })

  it('takes blocks in parts, and refuses those over 2 MiB', async (t) => {
    const { nodes } = store(t)
    const { cid, bytes } = block('parts')
    await nodes.put(cid, [bytes.subarray(0, 3), bytes.subarray(3)])
    assert.equal((await nodes.getBytes(cid)).length, bytes.length)
    const endless = (function* () {
      for (;;) {
        yield new Uint8Array(MAX_BLOCK_BYTES)
      }
    })()
    await assert.rejects(nodes.put(cid, endless), { errno: 'EFBIG' })
    await assert.rejects(nodes.put(cid, new Uint8Array(MAX_BLOCK_BYTES + 1)), { errno: 'EFBIG' })
  })

  it('treats a damaged block as missing, and takes it again', async (t) => {
    const { nodes, dir } = store(t)
    const { cid, bytes } = block('good')
    await nodes.put(cid, bytes)
    await nodes.flush()
    await writeFile(await pathOf(dir), 'bad')
    await assert.rejects(nodes.getBytes(cid), { name: 'NotFoundError' })
    await nodes.put(cid, bytes)
    assert.deepEqual(await nodes.getBytes(cid), new Uint8Array(bytes))
  })

  it('replaces what a power cut left under the name', async (t) => {
    const { nodes, dir } = store(t)
    const { cid, bytes } = block('good')
    await nodes.put(cid, bytes)
    const path = await pathOf(dir)
    await writeFile(path, Buffer.alloc(bytes.length))
    await createNodeStore(dir).put(cid, bytes)
    assert.deepEqual(await readFile(path), Buffer.from(bytes))
  })

  it('stores a block again that was deleted while it was flushed', async (t) => {
    const { nodes } = store(t)
    const { cid, bytes } = block('deleted')
    await nodes.put(cid, bytes)
    await Promise.all([nodes.flush(), nodes.delete(cid)])
    await nodes.put(cid, bytes)
    assert.ok(await nodes.has(cid))
    await nodes.flush()
  })

  for (const count of [1, 20, 300]) {
    it(`makes ${count} blocks durable`, async (t) => {
      const { nodes } = store(t)
      const pairs = [...Array(count).keys()].map((index) => block(`block ${index}`))
      await nodes.putDurable(pairs)
      await nodes.flush()
      for (const { cid, bytes } of pairs) {
        assert.deepEqual(await nodes.getBytes(cid), new Uint8Array(bytes))
      }
    })
  }

  it('lists all blocks with their codec, and none of the rubbish', async (t) => {
    const { nodes, dir } = store(t)
    const pairs = [block('a'), block('b', true), block('c')]
    await nodes.putDurable(pairs)
    await mkdir(join(dir, 'XX'))
    await writeFile(join(dir, 'XX', 'left-over.tmp'), '')
    const listed: string[] = []
    for await (const { cid } of nodes.getAll()) {
      listed.push(cid.toString())
    }
    assert.deepEqual(listed.sort(), pairs.map(({ cid }) => cid.toString()).sort())
  })

  it('refuses hashes that vouch for nothing', async (t) => {
    const { nodes } = store(t)
    const weak = [
      CID.createV1(dagPb.code, Digest.create(0xd5, new Uint8Array(16))), // MD5
      CID.createV1(dagPb.code, Digest.create(0x12, new Uint8Array(4))),
      CID.createV1(dagPb.code, Digest.create(0x00, new Uint8Array(129))),
    ]
    for (const cid of weak) {
      await assert.rejects(nodes.put(cid, new Uint8Array()), { code: 'weak-hash' })
      await assert.rejects(nodes.getBytes(cid), { code: 'weak-hash' })
    }
  })
})
