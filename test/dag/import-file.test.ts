import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { link, mkdir, open, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { unixfs } from '@helia/unixfs'
import { BlackHoleBlockstore } from 'blockstore-core/black-hole'
import { createHeliaLight } from 'helia'
import { importByteStream, importBytes } from 'ipfs-unixfs-importer'
import {
  type CacheBlockstore,
  createCacheBlockstore,
  createNodeStore,
} from '../../src/blocks/index.ts'
import {
  fileLeaves,
  type ImportFileOptions,
  importFile,
  LEAF_BYTES,
  statNode,
} from '../../src/dag/index.ts'
import { openDatabase } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'
import { collect, memoryBlocks, patternBytes } from './fixtures.ts'

const EMPTY = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const SIZES = [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 3 * LEAF_BYTES + 7]

async function fileOf(t: TestContext, bytes: Uint8Array): Promise<string> {
  const path = join(tempDir(t), 'file')
  await writeFile(path, bytes)
  return path
}

async function importPath(path: string, options: Partial<ImportFileOptions> = {}) {
  const handle = await open(path)
  try {
    const { size } = await handle.stat()
    return await importFile(handle, size, { putNode: async () => {}, ...options })
  } finally {
    await handle.close()
  }
}

/** Reads a file as a Helia user would, in windows: the library keeps all it reads in memory. */
async function readWithHelia(blockstore: CacheBlockstore, cid: Parameters<typeof statNode>[1]) {
  const helia = await createHeliaLight({ blockstore }).start()
  try {
    const parts: Uint8Array[] = []
    for await (const part of unixfs(helia).cat(cid, { offline: true })) {
      parts.push(part)
    }
    return Buffer.concat(parts)
  } finally {
    await helia.stop()
  }
}

describe('importFile', () => {
  for (const size of SIZES) {
    it(`gives ${size} bytes the CID of the ordinary importer`, async (t) => {
      const bytes = patternBytes(size)
      const seen: number[] = []
      const imported = await importPath(await fileOf(t, bytes), {
        onLeaf: (leaf) => seen.push(leaf.offset),
        digests: ['sha256', 'git-sha1'],
      })
      const options = { profile: 'unixfs-v1-2025' } as const
      const ordinary = await importBytes(bytes, new BlackHoleBlockstore(), { ...options })
      assert.equal(imported.cid.toString(), ordinary.cid.toString())
      assert.equal(imported.tsizeBytes, Number(ordinary.size))
      assert.equal(imported.leaves.length, Math.max(1, Math.ceil(size / LEAF_BYTES)))
      assert.deepEqual(
        seen,
        imported.leaves.map((leaf) => leaf.offset),
      )
      for (const { digest, offset, length } of imported.leaves) {
        const leaf = bytes.subarray(offset, offset + length)
        assert.deepEqual(Buffer.from(digest), createHash('sha256').update(leaf).digest())
      }
      const sha1 = createHash('sha1').update(`blob ${size}\0`).update(bytes)
      assert.deepEqual(Buffer.from(imported.gitSha1 ?? []), sha1.digest())
      const sha256 = createHash('sha256').update(bytes)
      assert.deepEqual(Buffer.from(imported.sha256 ?? []), sha256.digest())
    })
  }

  it('makes an empty file the raw block of no bytes', async (t) => {
    const imported = await importPath(await fileOf(t, new Uint8Array()))
    assert.equal(imported.cid.toString(), EMPTY)
    assert.equal(imported.tsizeBytes, 0)
    assert.equal(imported.sha256, undefined)
  })

  it('makes a second level from 1,025 leaves on', async (t) => {
    const path = await fileOf(t, new Uint8Array())
    await truncate(path, 1025 * LEAF_BYTES)
    const store = memoryBlocks()
    const imported = await importPath(path, store)
    const zeros = new Uint8Array(LEAF_BYTES)
    const stream = (function* () {
      for (let index = 0; index < 1025; index += 1) {
        yield zeros
      }
    })()
    const ordinary = await importByteStream(stream, new BlackHoleBlockstore(), {
      profile: 'unixfs-v1-2025',
    })
    assert.equal(imported.cid.toString(), ordinary.cid.toString())
    assert.equal(imported.tsizeBytes, Number(ordinary.size))
    assert.equal(store.blocks.size, 3)
    const range = { start: 1024 * LEAF_BYTES - 1, end: 1025 * LEAF_BYTES }
    const leaves = await collect(fileLeaves(store.getBlock, imported.cid, range))
    assert.deepEqual(
      leaves.map((leaf) => leaf.offset / LEAF_BYTES),
      [1023, 1024],
    )
    assert.equal((await statNode(store.getBlock, imported.cid)).sizeBytes, 1025 * LEAF_BYTES)
  })

  it('is read back by Helia over the block store of the cache', async (t) => {
    const dir = tempDir(t)
    const objectsDir = join(dir, 'objects')
    await mkdir(objectsDir)
    const database = await openDatabase(join(dir, 'db'))
    t.after(() => database.close())
    const nodes = createNodeStore(join(dir, 'nodes'))
    const blockstore = createCacheBlockstore({ nodes, leaves: database.leaves, objectsDir })
    for (const [index, size] of SIZES.entries()) {
      const bytes = patternBytes(size, index + 1)
      const path = join(dir, `file ${index}`)
      await writeFile(path, bytes)
      const imported = await importPath(path, {
        putNode: async (cid, block) => void (await nodes.put(cid, block)),
      })
      const oid = BigInt(index + 1)
      await link(path, join(objectsDir, oid.toString()))
      await database.leaves.put(oid, imported.leaves)
      const read = await readWithHelia(blockstore, imported.cid)
      assert.ok(read.equals(bytes), `${size} bytes`)
    }
  })

  it('fails when the file is shorter than it should be', async (t) => {
    const path = await fileOf(t, new Uint8Array(5))
    const handle = await open(path)
    t.after(() => handle.close())
    const options = { putNode: async () => {} }
    await assert.rejects(importFile(handle.fd, 6, options), { code: 'changed' })
    await assert.rejects(importFile(handle.fd, 3 * LEAF_BYTES, options), { code: 'changed' })
  })

  it('stops when it is told to, and passes on what putNode throws', async (t) => {
    const path = await fileOf(t, patternBytes(2 * LEAF_BYTES))
    const controller = new AbortController()
    const stopped = importPath(path, {
      signal: controller.signal,
      onLeaf: () => controller.abort(new Error('stop')),
    })
    await assert.rejects(stopped, /stop/)
    const full = async () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    }
    await assert.rejects(importPath(path, { putNode: full }), { code: 'ENOSPC' })
  })
})
