import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import { buildMeta, type MetaEntry, readMeta } from '../../src/dag/index.ts'
import { mutate, randomNumbers } from '../tree/fixtures.ts'
import { cidOf, collect, memoryBlocks, rawCid } from './fixtures.ts'

const metaCid = cidOf(Buffer.from('meta'), dagCbor.code)

function entry(name: string, changes: Partial<MetaEntry> = {}): MetaEntry {
  return {
    name,
    type: 'f',
    mode: 0o644,
    mtimeNs: 1_700_000_000_123_456_789n,
    sizeBytes: 12,
    metaCid: undefined,
    target: undefined,
    ...changes,
  }
}

const few = [
  entry('a'),
  entry('b', { type: 'd', mode: 0o2775, metaCid, sizeBytes: 0 }),
  entry('c', { type: 'd', mtimeNs: -(2n ** 63n) }),
  entry('größe', { type: 'l', target: '../x', sizeBytes: 4, mtimeNs: 0n }),
  entry('z', { sizeBytes: Number.MAX_SAFE_INTEGER, mtimeNs: 2n ** 63n - 1n }),
]

describe('the meta block', () => {
  it('comes back as it was, whatever the order', async () => {
    const store = memoryBlocks()
    const cid = await buildMeta(few, store.putNode)
    assert.deepEqual(await collect(readMeta(store.getBlock, cid)), few)
    const reversed = await buildMeta([...few].reverse(), store.putNode)
    assert.equal(reversed.toString(), cid.toString())
    assert.equal(store.blocks.size, 1)
  })

  it('of an empty directory is empty', async () => {
    const store = memoryBlocks()
    const cid = await buildMeta([], store.putNode)
    assert.deepEqual(await collect(readMeta(store.getBlock, cid)), [])
  })

  const large: [string, MetaEntry[]][] = [
    [
      '10,000 entries',
      [...Array(10_000).keys()].map((at) => entry(`n${String(at).padStart(5, '0')}`)),
    ],
    [
      '1,000 long targets',
      [...Array(1000).keys()].map((at) =>
        entry(`n${String(at).padStart(4, '0')}`, { type: 'l', target: 'x'.repeat(4000) }),
      ),
    ],
  ]
  for (const [what, entries] of large) {
    it(`holds ${what} in blocks below 1 MiB`, async () => {
      const store = memoryBlocks()
      const cid = await buildMeta(entries, store.putNode)
      assert.ok(store.blocks.size > 2)
      for (const bytes of store.blocks.values()) {
        assert.ok(bytes.length < 2 ** 20)
      }
      assert.deepEqual(await collect(readMeta(store.getBlock, cid)), entries)
    })
  }

  async function readBack(value: unknown) {
    const store = memoryBlocks()
    const bytes = dagCbor.encode(value)
    const cid = cidOf(bytes, dagCbor.code)
    await store.putNode(cid, bytes)
    return collect(readMeta(store.getBlock, cid))
  }
  const good = ['a', 'f', 0o644, 5n, 12, null, null]
  const changed = (at: number, value: unknown) => good.with(at, value as string)

  it('takes the set-ID bits from files, and leaves them to directories', async () => {
    const entries = [changed(2, 0o6755), ['d', 'd', 0o3775, 5n, 0, null, null]]
    const modes = (await readBack({ meta: 1, entries })).map(({ mode }) => mode)
    assert.deepEqual(modes, [0o755, 0o3775])
  })

  const bad: [string, unknown][] = [
    ['no map', [1]],
    ['null', null],
    ['another version', { meta: 2, entries: [] }],
    ['no entries', { meta: 1 }],
    ['too many entries', { meta: 1, entries: Array(4097).fill(good) }],
    ['parts that are no CIDs', { meta: 1, parts: ['x'] }],
    ['parts that are raw', { meta: 1, parts: [rawCid('x')] }],
    ['an entry that is no list', { meta: 1, entries: [{}] }],
    ['an entry of six', { meta: 1, entries: [good.slice(1)] }],
    ...[
      [0, '..'],
      [0, 'a/b'],
      [0, 5],
      [1, 'x'],
      [2, 0o10000],
      [2, -1],
      [3, 1.5],
      [3, 2n ** 63n],
      [4, -1],
      [4, 2n ** 60n],
      [5, metaCid],
      [6, 'target'],
    ].map(([at, value]): [string, unknown] => [
      `field ${at} ${String(value)}`,
      { meta: 1, entries: [changed(Number(at), value)] },
    ]),
    ['a link without a target', { meta: 1, entries: [changed(1, 'l')] }],
    ['a link to NUL', { meta: 1, entries: [['a', 'l', 0, 5n, 0, null, 'x\0']] }],
  ]
  for (const [what, value] of bad) {
    it(`with ${what} is refused`, async () => {
      await assert.rejects(readBack(value), { errno: /EIO|EINVAL/ })
    })
  }

  it('is refused in one way, or sound, after any change', async () => {
    const random = randomNumbers(11)
    const store = memoryBlocks()
    const original = await store.getBlock(await buildMeta(few, store.putNode))
    for (let round = 0; round < 3000; round += 1) {
      const bytes = mutate(original, random)
      const read = collect(readMeta(async () => bytes, cidOf(bytes, dagCbor.code)))
      await read.catch((error: { errno?: string }) => assert.match(error.errno ?? '', /EIO|EINVAL/))
    }
  })

  it('that is nested without end is refused', async () => {
    const bytes = new Uint8Array(1_000_000).fill(0x81)
    const read = collect(readMeta(async () => bytes, cidOf(bytes, dagCbor.code)))
    await assert.rejects(read, { code: 'malformed', errno: 'EIO' })
  })
})
