import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MemoryBlockstore } from 'blockstore-core'
import { UnixFS } from 'ipfs-unixfs'
import { importBytes } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { fileLeaves, statNode, symlinkNode } from '../../src/dag/index.ts'
import { collect, identityCid, memoryBlocks, patternBytes, putUnixfs, rawCid } from './fixtures.ts'

const ALL = { start: 0, end: Number.MAX_SAFE_INTEGER }
const raw = 0x55

function fileNode(sizes: number[], data?: Uint8Array): UnixFS {
  const blockSizes = sizes.map(BigInt)
  return new UnixFS({ type: 'file', blockSizes, ...(data === undefined ? {} : { data }) })
}

describe('fileLeaves', () => {
  it('gives the leaves of a range, and reads only the nodes on the way', async () => {
    const store = memoryBlocks()
    const parts: CID[] = []
    for (let part = 0; part < 4; part += 1) {
      const links = [...Array(4).keys()].map((leaf) => ({ cid: rawCid(`${part} ${leaf}`) }))
      parts.push(await putUnixfs(store, fileNode([3, 3, 3, 3]), links))
    }
    const root = await putUnixfs(
      store,
      fileNode([12, 12, 12, 12]),
      parts.map((cid) => ({ cid })),
    )
    const leaves = await collect(fileLeaves(store.getBlock, root, { start: 17, end: 25 }))
    assert.deepEqual(
      leaves.map(({ offset, length }) => [offset, length]),
      [
        [15, 3],
        [18, 3],
        [21, 3],
        [24, 3],
      ],
    )
    assert.equal(leaves[0]?.cid.toString(), rawCid('1 1').toString())
    assert.equal(store.reads.length, 3)
    assert.deepEqual(await collect(fileLeaves(store.getBlock, root, { start: 48, end: 99 })), [])
    assert.deepEqual(await collect(fileLeaves(store.getBlock, root, { start: 5, end: 5 })), [])
  })

  it('knows a file of one raw block by its size, or reads it', async () => {
    const store = memoryBlocks()
    const bytes = new Uint8Array(Buffer.from('single'))
    const cid = rawCid('single')
    const expected = [{ cid, offset: 0, length: 6 }]
    assert.deepEqual(
      await collect(fileLeaves(store.getBlock, cid, ALL, { sizeBytes: 6 })),
      expected,
    )
    assert.equal(store.reads.length, 0)
    store.blocks.set(cid.toString(), bytes)
    assert.deepEqual(await collect(fileLeaves(store.getBlock, cid, ALL)), expected)
    const tooLarge = fileLeaves(store.getBlock, cid, ALL, { sizeBytes: 2 ** 21 + 1 })
    await assert.rejects(collect(tooLarge), { code: 'malformed-node' })
  })

  it('gives the bytes of inline leaves', async () => {
    const store = memoryBlocks()
    const identity = identityCid('abc')
    assert.deepEqual(await collect(fileLeaves(store.getBlock, identity, ALL)), [
      { cid: identity, offset: 0, length: 3, bytes: new Uint8Array(Buffer.from('abc')) },
    ])
    const leaf = await putUnixfs(store, fileNode([], Buffer.from('defg')))
    const root = await putUnixfs(store, fileNode([3, 4], Buffer.from('01')), [
      { cid: identity },
      { cid: leaf },
    ])
    const leaves = await collect(fileLeaves(store.getBlock, root, ALL))
    const text = leaves.map(({ bytes }) => Buffer.from(bytes ?? []).toString()).join('')
    assert.equal(text, '01abcdefg')
    assert.deepEqual(
      leaves.map(({ offset }) => offset),
      [0, 2, 5],
    )
  })

  it('reads files of the old profile, with dag-pb leaves', async () => {
    const blocks = new MemoryBlockstore()
    const content = patternBytes(600_000)
    const { cid } = await importBytes(content, blocks, { profile: 'unixfs-v0-2015' })
    const getBlock = async (one: CID) => Buffer.concat(await collect(blocks.get(one)))
    const leaves = await collect(fileLeaves(getBlock, cid, ALL))
    assert.ok(Buffer.concat(leaves.map(({ bytes }) => bytes ?? Buffer.of())).equals(content))
  })

  const bad: [string, (store: ReturnType<typeof memoryBlocks>) => Promise<CID>][] = [
    [
      'a child of another size',
      async (store) => {
        const child = await putUnixfs(store, fileNode([], Buffer.from('abc')))
        return putUnixfs(store, fileNode([5]), [{ cid: child }])
      },
    ],
    [
      'more links than sizes',
      (store) => putUnixfs(store, fileNode([1]), [{ cid: rawCid('a') }, { cid: rawCid('b') }]),
    ],
    [
      'a leaf over 2 MiB',
      (store) => putUnixfs(store, fileNode([2 ** 21 + 1]), [{ cid: rawCid('a') }]),
    ],
    [
      'an inline leaf of another size',
      (store) => putUnixfs(store, fileNode([9]), [{ cid: identityCid('abc') }]),
    ],
    [
      'a directory below it',
      async (store) => {
        const child = await putUnixfs(store, new UnixFS({ type: 'directory' }))
        return putUnixfs(store, fileNode([5]), [{ cid: child }])
      },
    ],
    [
      '2^60 bytes',
      (store) =>
        putUnixfs(
          store,
          new UnixFS({
            type: 'file',
            blockSizes: [2n ** 60n],
          }),
          [{ cid: rawCid('a') }],
        ),
    ],
    [
      'a hundred levels',
      async (store) => {
        let cid = rawCid('a')
        for (let level = 0; level < 100; level += 1) {
          cid = await putUnixfs(store, fileNode([1]), [{ cid }])
        }
        return cid
      },
    ],
  ]
  for (const [what, make] of bad) {
    it(`refuses a file with ${what}`, async () => {
      const store = memoryBlocks()
      const cid = await make(store)
      await assert.rejects(collect(fileLeaves(store.getBlock, cid, ALL)), {
        code: 'malformed-node',
        errno: 'EIO',
      })
    })
  }

  it('does not walk through children without bytes', async () => {
    const store = memoryBlocks()
    const links = [...Array(1000).keys()].map((index) => ({ cid: rawCid(`${index}`) }))
    const root = await putUnixfs(store, fileNode(Array(1000).fill(0)), links)
    assert.deepEqual(await collect(fileLeaves(store.getBlock, root, ALL)), [])
    assert.equal(store.reads.length, 1)
  })
})

describe('statNode', () => {
  it('tells files, directories and links apart', async () => {
    const store = memoryBlocks()
    const link = symlinkNode('../größe')
    await store.putNode(link.cid, link.bytes)
    const directory = await putUnixfs(store, new UnixFS({ type: 'directory' }))
    const file = await putUnixfs(store, fileNode([5, 7]), [
      { cid: rawCid('a') },
      { cid: rawCid('b') },
    ])
    store.blocks.set(rawCid('hello').toString(), Buffer.from('hello'))
    const stat = (cid: CID) => statNode(store.getBlock, cid)
    assert.deepEqual(await stat(link.cid), { type: 'l', sizeBytes: 0, target: '../größe' })
    assert.deepEqual(await stat(directory), { type: 'd', sizeBytes: 0 })
    assert.deepEqual(await stat(file), { type: 'f', sizeBytes: 12 })
    assert.deepEqual(await stat(rawCid('hello')), { type: 'f', sizeBytes: 5 })
    assert.deepEqual(await stat(identityCid('abc')), { type: 'f', sizeBytes: 3 })
  })

  it('refuses what is not UnixFS', async () => {
    const store = memoryBlocks()
    const metadata = await putUnixfs(store, new UnixFS({ type: 'metadata' }))
    const garbage = await putUnixfs(store, Uint8Array.of(0xff, 0xff))
    const empty = await putUnixfs(store, new Uint8Array())
    for (const cid of [metadata, garbage]) {
      await assert.rejects(statNode(store.getBlock, cid), { code: 'not-unixfs', errno: 'EIO' })
    }
    // Protobuf has no way to say less than this: a node without any field is a raw one.
    assert.equal((await statNode(store.getBlock, empty)).sizeBytes, 0)
  })

  it('refuses a link whose target no disk can hold', async () => {
    const store = memoryBlocks()
    for (const data of [
      new Uint8Array(),
      Uint8Array.of(0),
      Uint8Array.of(0xff),
      Buffer.alloc(5000, 'x'),
    ]) {
      const cid = await putUnixfs(store, new UnixFS({ type: 'symlink', data }))
      await assert.rejects(statNode(store.getBlock, cid), { code: 'malformed-node' })
    }
  })

  it('takes no CID of another codec for a file', () => {
    assert.notEqual(symlinkNode('x').cid.code, raw)
  })
})
