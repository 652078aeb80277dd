import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { MemoryBlockstore } from 'blockstore-core'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { createLogger } from '../../src/base/index.ts'
import { createNetwork, type FetchLimits, type Network } from '../../src/ipfs/index.ts'
import { addFile, blockOf, type FakePeer, fakePeer } from './fake-peer.ts'

const KIB = 1024

/** Short limits: the tests provoke every one of them. */
const LIMITS: Partial<FetchLimits> = {
  firstByteMs: 300,
  stallMs: 300,
  rateWindowMs: 200,
  minimumBytesPerSecond: 64 * KIB,
}

function network(t: TestContext, peers: readonly FakePeer[], blockstore = new MemoryBlockstore()) {
  const logger = createLogger({ level: 'error', write: (line) => process.stderr.write(line) })
  const addresses = peers.map((peer) => peer.address)
  const made = createNetwork({ blockstore, peers: addresses, logger }, LIMITS)
  t.after(() => made.close())
  return made
}

async function read(made: Network, { file, leaves }: ReturnType<typeof addFile>) {
  const last = leaves.at(-1)
  const length = last === undefined ? 0 : last.offset + last.length
  const parts: Uint8Array[] = []
  for await (const leaf of made.fetchRange(file, 0, length, leaves)) {
    parts.push(leaf.bytes)
  }
  return Buffer.concat(parts)
}

describe('fetching a range of a file', () => {
  const bytes = randomBytes(10 * 64 * KIB + 77)

  test('asks for the leaves it needs with one request', async (t) => {
    const peer = await fakePeer(t)
    const { file, leaves } = addFile(peer, bytes, 64 * KIB)
    const made = network(t, [peer])
    const found: number[] = []
    for await (const leaf of made.fetchRange(file, 64 * KIB + 5, 64 * KIB, leaves)) {
      assert.deepEqual(leaf.bytes, bytes.subarray(leaf.offset, leaf.offset + 64 * KIB))
      found.push(leaf.offset)
    }
    assert.deepEqual(found, [64 * KIB, 128 * KIB])
    assert.deepEqual(peer.requests, [`/t/token/ipfs/${file} bytes=${64 * KIB}-${192 * KIB - 1}`])
  })

  for (const behaviour of [
    'lacks',
    'silent',
    'trickles',
    'lies',
    'breaks',
    'stalls',
    'redirects',
  ] as const) {
    test(`goes on at the next peer when the first one ${behaviour}`, async (t) => {
      const bad = await fakePeer(t, behaviour)
      const good = await fakePeer(t)
      addFile(bad, bytes, 64 * KIB)
      const stored = addFile(good, bytes, 64 * KIB)
      const made = network(t, [bad, good])
      assert.deepEqual(await read(made, stored), bytes)
      assert.equal(bad.requests.length, 1)
      assert.equal(good.requests.length, 1)
      if (behaviour === 'breaks' || behaviour === 'stalls') {
        // What came before the failure is not asked for again.
        assert.doesNotMatch(good.requests[0] ?? '', /bytes=0-/)
      }
    })

    test(`fails, naming peer and reason, when the only peer ${behaviour}`, async (t) => {
      const bad = await fakePeer(t, behaviour)
      const stored = addFile(bad, bytes, 64 * KIB)
      await assert.rejects(read(network(t, [bad]), stored), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'unavailable')
        assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${bad.port}`))
        assert.doesNotMatch(error.message, /t\/token/)
        return true
      })
    })
  }

  test('never yields a byte of a leaf that is wrong', async (t) => {
    const liar = await fakePeer(t, 'lies')
    const { file, leaves } = addFile(liar, bytes, 64 * KIB)
    const seen: number[] = []
    await assert.rejects(async () => {
      for await (const leaf of network(t, [liar]).fetchRange(file, 0, bytes.length, leaves)) {
        assert.deepEqual(leaf.bytes, bytes.subarray(leaf.offset, leaf.offset + leaf.bytes.length))
        seen.push(leaf.offset)
      }
    })
    assert.equal(seen.length, leaves.length - 1)
  })

  test('tries a peer that is down, and uses it when it is back', async (t) => {
    const gone = await fakePeer(t)
    const stored = addFile(gone, bytes, 64 * KIB)
    const made = network(t, [gone])
    assert.deepEqual(await read(made, stored), bytes)
    gone.behaviour = 'breaks'
    await assert.rejects(read(made, stored), { code: 'unavailable' })
    gone.behaviour = 'good'
    assert.deepEqual(await read(made, stored), bytes)
  })

  test('asks a peer that failed after those that did not', async (t) => {
    const bad = await fakePeer(t, 'breaks')
    const good = await fakePeer(t)
    addFile(bad, bytes, 64 * KIB)
    const stored = addFile(good, bytes, 64 * KIB)
    const made = network(t, [bad, good])
    await read(made, stored)
    await read(made, stored)
    assert.equal(bad.requests.length, 1)
    assert.equal(good.requests.length, 2)
  })

  test('stops when its reader stops', async (t) => {
    const peer = await fakePeer(t)
    const { file, leaves } = addFile(peer, bytes, 64 * KIB)
    const made = network(t, [peer])
    for await (const leaf of made.fetchRange(file, 0, bytes.length, leaves)) {
      assert.equal(leaf.offset, 0)
      break
    }
    assert.deepEqual(await read(made, { file, leaves }), bytes)
  })

  test('ends with the reason of its signal', async (t) => {
    const peer = await fakePeer(t, 'silent')
    const { file, leaves } = addFile(peer, bytes, 64 * KIB)
    const stop = new AbortController()
    const reading = network(t, [peer]).fetchRange(file, 0, 10, leaves, stop.signal)
    const first = reading[Symbol.asyncIterator]().next()
    stop.abort(new Error('enough'))
    await assert.rejects(first, /enough/)
  })
})

describe('fetching a block', () => {
  const node = dagPb.encode(dagPb.prepare({ Data: randomBytes(50) }))
  const cid = blockOf(0x70, node)

  test('takes what is here without a peer, and without Helia', async (t) => {
    const blockstore = new MemoryBlockstore()
    await blockstore.put(cid, node)
    const made = network(t, [], blockstore)
    assert.deepEqual(new Uint8Array(await made.getBlock(cid)), new Uint8Array(node))
    assert.equal(made.stats().heliaStarted, false)
  })

  test('fetches a node once for all who ask, and keeps it', async (t) => {
    const peer = await fakePeer(t)
    peer.blocks.set(cid.toString(), node)
    const blockstore = new MemoryBlockstore()
    const made = network(t, [peer], blockstore)
    const all = await Promise.all([1, 2, 3].map(() => made.getBlock(cid)))
    for (const bytes of all) {
      assert.deepEqual(new Uint8Array(bytes), new Uint8Array(node))
    }
    assert.equal(peer.requests.length, 1)
    assert.equal(await blockstore.has(cid), true)
    assert.equal(made.stats().heliaStarted, true)
  })

  test('fetches dag-cbor, and a raw leaf without keeping it', async (t) => {
    const peer = await fakePeer(t)
    const cbor = dagCbor.encode({ some: 'commit' })
    const leaf = randomBytes(1000)
    const cids = [blockOf(0x71, cbor), blockOf(0x55, leaf)] as const
    peer.blocks.set(cids[0].toString(), cbor).set(cids[1].toString(), leaf)
    const blockstore = new MemoryBlockstore()
    const made = network(t, [peer], blockstore)
    assert.deepEqual(new Uint8Array(await made.getBlock(cids[0])), new Uint8Array(cbor))
    assert.deepEqual(new Uint8Array(await made.getBlock(cids[1])), new Uint8Array(leaf))
    assert.equal(await blockstore.has(cids[0]), true)
    assert.equal(await blockstore.has(cids[1]), false)
  })

  for (const behaviour of ['lacks', 'silent', 'trickles', 'lies', 'breaks', 'endless'] as const) {
    test(`asks the next peer when the first one ${behaviour}`, async (t) => {
      const bad = await fakePeer(t, behaviour)
      const good = await fakePeer(t)
      bad.blocks.set(cid.toString(), node)
      good.blocks.set(cid.toString(), node)
      const bytes = await network(t, [bad, good]).getBlock(cid)
      assert.deepEqual(new Uint8Array(bytes), new Uint8Array(node))
    })
  }

  test('names every peer when none has it', async (t) => {
    const peers = [await fakePeer(t, 'lacks'), await fakePeer(t, 'lies')]
    peers[1]?.blocks.set(cid.toString(), node)
    await assert.rejects(network(t, peers).getBlock(cid), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'unavailable')
      assert.match(error.message, /status 404/)
      assert.match(error.message, /another hash/)
      return true
    })
  })

  test('keeps its connection for the next request', async (t) => {
    const peer = await fakePeer(t)
    const nodes = [1, 2, 3].map((n) => dagPb.encode(dagPb.prepare({ Data: Buffer.from([n]) })))
    const made = network(t, [peer])
    for (const bytes of nodes) {
      const one = blockOf(0x70, bytes)
      peer.blocks.set(one.toString(), bytes)
      await made.getBlock(one)
    }
    const stored = addFile(peer, randomBytes(300 * KIB), 64 * KIB)
    await read(made, stored)
    assert.equal(peer.connections, 1)
  })

  test('asks again on a new connection when the kept one was closed', async (t) => {
    const peer = await fakePeer(t)
    peer.blocks.set(cid.toString(), node)
    const made = network(t, [peer])
    const stored = addFile(peer, randomBytes(300 * KIB), 64 * KIB)
    await read(made, stored)
    peer.breakKeptConnections()
    await made.getBlock(cid)
    assert.equal(peer.connections, 2)
  })

  test('says at once that there is nobody to ask', async (t) => {
    const made = network(t, [])
    await assert.rejects(made.getBlock(cid), { code: 'no-peers' })
    assert.equal(made.stats().heliaStarted, false)
  })

  test('refuses hashes that cannot vouch for the bytes', async (t) => {
    const peer = await fakePeer(t)
    const made = network(t, [peer])
    const weak = [
      CID.createV1(0x70, Digest.create(0x11, randomBytes(20))),
      CID.createV1(0x55, Digest.create(0x12, randomBytes(20))),
      CID.createV1(0x55, Digest.create(0x00, randomBytes(129))),
    ]
    for (const one of weak) {
      await assert.rejects(made.getBlock(one), { code: 'unsupported-cid' })
    }
    assert.deepEqual(peer.requests, [])
  })

  test('reads a small identity CID out of itself', async (t) => {
    const made = network(t, [])
    const bytes = await made.getBlock(CID.createV1(0x55, Digest.create(0x00, Buffer.from('hello'))))
    assert.equal(Buffer.from(bytes).toString(), 'hello')
  })

  test('one asker that gives up leaves the others their answer', async (t) => {
    const peer = await fakePeer(t)
    peer.blocks.set(cid.toString(), node)
    const made = network(t, [peer])
    const stop = new AbortController()
    const impatient = made.getBlock(cid, stop.signal)
    const patient = made.getBlock(cid)
    // Both have to be in flight before one stops; reading our own store comes first.
    await new Promise((resolve) => setImmediate(resolve))
    stop.abort(new Error('enough'))
    await assert.rejects(impatient, /enough/)
    assert.deepEqual(new Uint8Array(await patient), new Uint8Array(node))
  })
})
