import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as dagPb from '@ipld/dag-pb'
import { MemoryBlockstore } from 'blockstore-core'
import { UnixFS } from 'ipfs-unixfs'
import { exporter } from 'ipfs-unixfs-exporter'
import { importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import {
  buildDirectory,
  type DirectoryEntry,
  listDirectory,
  symlinkNode,
} from '../../src/dag/index.ts'
import {
  cidOf,
  collect,
  identityCid,
  type Link,
  memoryBlocks,
  putUnixfs,
  rawCid,
} from './fixtures.ts'

function entriesOf(count: number): DirectoryEntry[] {
  return [...Array(count).keys()].map((index) => {
    const content = `content ${index}`
    return { name: `file ${index} ß.txt`, cid: rawCid(content), tsizeBytes: content.length }
  })
}

const byName = (a: DirectoryEntry, b: DirectoryEntry) => (a.name < b.name ? -1 : 1)

describe('buildDirectory and listDirectory', () => {
  for (const count of [0, 1, 300, 10_000]) {
    it(`build ${count} entries as the ordinary importer does, and list them again`, async () => {
      const store = memoryBlocks()
      const entries = entriesOf(count)
      const built = await buildDirectory(entries, store.putNode)
      const listed = await collect(listDirectory(store.getBlock, built.cid))
      assert.deepEqual(listed.sort(byName), entries.sort(byName))
      if (count === 0) {
        return
      }
      const source = [...Array(count).keys()].map((index) => ({
        path: `file ${index} ß.txt`,
        content: Buffer.from(`content ${index}`),
      }))
      const results = await collect(
        importer(source, new MemoryBlockstore(), {
          profile: 'unixfs-v1-2025',
          wrapWithDirectory: true,
        }),
      )
      assert.equal(built.cid.toString(), results.at(-1)?.cid.toString())
      assert.equal(built.tsizeBytes, Number(results.at(-1)?.size))
    })
  }

  it('make a HAMT that the reference exporter lists', async () => {
    const store = memoryBlocks()
    const blocks = new MemoryBlockstore()
    const built = await buildDirectory(entriesOf(6000), async (cid, bytes) => {
      await store.putNode(cid, bytes)
      await blocks.put(cid, bytes)
    })
    assert.ok(store.blocks.size > 100)
    const root = await exporter(built.cid, blocks)
    assert.equal(root.type, 'directory')
    const names = new Set<string>()
    if (root.type === 'directory') {
      for await (const { name } of root.entries()) {
        names.add(name)
      }
    }
    assert.equal(names.size, 6000)
  })

  it('know the empty directory', async () => {
    const store = memoryBlocks()
    const built = await buildDirectory([], store.putNode)
    assert.equal(
      built.cid.toString(),
      'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
    )
    assert.equal(built.tsizeBytes, 4)
  })

  it('refuse to build names that are bad or occur twice', async () => {
    const { putNode } = memoryBlocks()
    const entry = (name: string) => ({ name, cid: rawCid('x'), tsizeBytes: 1 })
    await assert.rejects(buildDirectory([entry('a/b')], putNode), { code: 'bad-name' })
    await assert.rejects(buildDirectory([entry('a'), entry('a')], putNode), { errno: 'EEXIST' })
  })

  it('carry a name with a backslash', async () => {
    const store = memoryBlocks()
    const entry = { name: 'a\\', cid: rawCid('x'), tsizeBytes: 1 }
    const { cid } = await buildDirectory([entry], store.putNode)
    assert.deepEqual(await collect(listDirectory(store.getBlock, cid)), [entry])
  })

  it('fail when a block is missing', async () => {
    const store = memoryBlocks()
    const { cid } = await buildDirectory(entriesOf(6000), store.putNode)
    const [shard] = [...store.blocks.keys()]
    store.blocks.delete(shard ?? '')
    await assert.rejects(collect(listDirectory(store.getBlock, cid)), /no block/)
  })
})

describe('symlinkNode', () => {
  it('is the node of the ordinary importer', () => {
    const { cid, bytes, tsizeBytes } = symlinkNode('../../blobs/x')
    const node = dagPb.decode(bytes)
    assert.deepEqual(node.Links, [])
    assert.equal(UnixFS.unmarshal(node.Data ?? new Uint8Array()).type, 'symlink')
    assert.equal(tsizeBytes, bytes.length)
    assert.equal(cid.toString(), cidOf(bytes).toString())
  })

  it('refuses targets that no disk can hold', () => {
    for (const target of ['', 'a\0b', 'x'.repeat(4096)]) {
      assert.throws(() => symlinkNode(target), { errno: 'EINVAL' })
    }
  })
})

describe('listing what strangers made', () => {
  const directory = new UnixFS({ type: 'directory' })
  const shard = (bits: number[] = [1], fanout = 256n) =>
    new UnixFS({
      type: 'hamt-sharded-directory',
      data: Uint8Array.from(bits),
      fanout,
      hashType: 0x22n,
    })

  async function list(links: Link[], unixfs = directory) {
    const store = memoryBlocks()
    const refused: string[] = []
    const cid = await putUnixfs(store, unixfs, links)
    const entries = await collect(
      listDirectory(store.getBlock, cid, undefined, { onRefused: (name) => refused.push(name) }),
    )
    return { names: entries.map((entry) => entry.name), refused }
  }

  it('leaves out names that no disk can hold, and keeps the others', async () => {
    const bad = ['', '.', '..', '/', 'a/b', '../../x', 'a\0', 'x'.repeat(256), 'é'.repeat(128)]
    const names = [...bad, 'good', 'x'.repeat(255)]
    // Links are sorted by the bytes of their names, as every encoder does.
    names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const { names: listed, refused } = await list(names.map((name) => ({ name, cid: rawCid('x') })))
    assert.deepEqual(listed.sort(), ['good', 'x'.repeat(255)])
    assert.deepEqual(refused.sort(), bad.sort())
  })

  it('takes the first of two entries with one name', async () => {
    const links = ['one', 'two'].map((text) => ({ name: 'same', cid: rawCid(text) }))
    const { names, refused } = await list(links)
    assert.deepEqual([names, refused], [['same'], ['same']])
  })

  it('leaves out CIDs that vouch for nothing, and what is not UnixFS', async () => {
    const md5 = CID.createV1(0x55, Digest.create(0xd5, new Uint8Array(16)))
    const cbor = CID.createV1(0x71, rawCid('x').multihash)
    const { names, refused } = await list([
      { name: 'a', cid: md5 },
      { name: 'b', cid: cbor },
      { name: 'c', cid: identityCid('inline') },
    ])
    assert.deepEqual([names, refused], [['c'], ['a', 'b']])
  })

  it('does not show names that are not UTF-8 under another name', async () => {
    const store = memoryBlocks()
    const good = dagPb.encode(
      dagPb.prepare({
        Data: directory.marshal(),
        Links: [{ Name: 'aXb', Hash: rawCid('x'), Tsize: 1 }],
      }),
    )
    const at = Buffer.from(good).indexOf('aXb')
    const bytes = Uint8Array.from(good)
    bytes[at + 1] = 0xff
    await store.putNode(cidOf(bytes), bytes)
    assert.deepEqual(await collect(listDirectory(store.getBlock, cidOf(bytes))), [])
    const { names } = await list([{ name: 'a\ufffdb', cid: rawCid('x') }])
    assert.deepEqual(names, ['a\ufffdb'])
  })

  for (const fanout of [0n, 1n, 7n, 2048n, 2n ** 20n, 2n ** 40n]) {
    it(`refuses a fan-out of ${fanout}`, async () => {
      await assert.rejects(list([], shard([1], fanout)), { code: 'malformed-node' })
    })
  }

  it('refuses a bit field that is larger than the fan-out', async () => {
    await assert.rejects(list([], shard(Array(33).fill(1))), { code: 'malformed-node' })
  })

  for (const label of ['', '0', 'zz', 'ab']) {
    it(`refuses a shard with the label ${JSON.stringify(label)}`, async () => {
      await assert.rejects(list([{ name: label, cid: rawCid('x') }], shard()), {
        code: 'malformed-node',
      })
    })
  }

  it('leaves out names that lie where their hash does not put them', async () => {
    const store = memoryBlocks()
    const { cid } = await buildDirectory(entriesOf(6000), store.putNode)
    const root = dagPb.decode(await store.getBlock(cid))
    const direct = root.Links.findIndex((link) => (link.Name ?? '').length === 2)
    assert.notEqual(direct, -1)
    const moved = root.Links.map((link, index) => {
      const next = root.Links[(index + 1) % root.Links.length]
      return { name: link.Name ?? '', cid: next?.Hash ?? link.Hash }
    })
    const wrong = await putUnixfs(store, root.Data ?? new Uint8Array(), moved)
    const refused: string[] = []
    const entries = await collect(
      listDirectory(store.getBlock, wrong, undefined, { onRefused: (name) => refused.push(name) }),
    )
    assert.ok(entries.length < 100 && refused.length > 5000)
  })

  it('does not unfold a small DAG into an endless listing', async () => {
    const store = memoryBlocks()
    let cid = await putUnixfs(store, shard(), [{ name: '00name', cid: rawCid('x') }])
    for (let level = 0; level < 7; level += 1) {
      const links = [...Array(256).keys()].map((index) => ({
        name: index.toString(16).toUpperCase().padStart(2, '0'),
        cid,
      }))
      cid = await putUnixfs(store, shard(Array(32).fill(255)), links)
    }
    await assert.rejects(collect(listDirectory(store.getBlock, cid)), { code: 'malformed-node' })
    assert.ok(store.reads.length < 1000)
  })

  it('refuses shards deeper than the hash has bits', async () => {
    const store = memoryBlocks()
    let cid = await putUnixfs(store, shard(), [])
    for (let level = 0; level < 20; level += 1) {
      cid = await putUnixfs(store, shard(), [{ name: '00', cid }])
    }
    await assert.rejects(collect(listDirectory(store.getBlock, cid)), { code: 'malformed-node' })
  })

  it('says what is no directory', async () => {
    const store = memoryBlocks()
    const file = await putUnixfs(store, new UnixFS({ type: 'file' }))
    for (const cid of [file, rawCid('x')]) {
      await assert.rejects(collect(listDirectory(store.getBlock, cid)), { errno: 'ENOTDIR' })
    }
    const cbor = CID.createV1(0x71, rawCid('x').multihash)
    await assert.rejects(collect(listDirectory(store.getBlock, cbor)), { code: 'not-unixfs' })
  })

  it('refuses a block over 2 MiB', async () => {
    const getBlock = async () => new Uint8Array(2 ** 21 + 1)
    const cid = symlinkNode('x').cid
    await assert.rejects(collect(listDirectory(getBlock, cid)), { code: 'malformed-node' })
  })
})
