import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { importFile as importUnixfs } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { lsetxattr, utimensatNs } from '../../src/base/index.ts'
import { importFile } from '../../src/dag/index.ts'
import { encodeRecord, RECORD_XATTR, readRecord } from '../../src/tree/index.ts'
import { blockOf, fakePeer } from '../ipfs/fake-peer.ts'
import { waitFor } from '../support/index.ts'
import { type Follower, type FollowerOptions, followRoot, openFollower } from './follower.ts'
import { type Origin, openOrigin } from './origin.ts'
import { type Relay, relayTo } from './relay.ts'

const MIB = 1024 * 1024

interface Pair {
  origin: Origin
  follower: Follower
  /** Between the two; counts and disturbs. */
  relay: Relay
  root: CID
}

/** A follower that has listed its root, whose only file is `model`. */
async function pairWith(
  t: TestContext,
  model: Uint8Array,
  options: FollowerOptions = {},
): Promise<Pair> {
  const origin = await openOrigin(t)
  await writeFile(join(origin.paths.tree, 'model'), model)
  await chmod(join(origin.paths.tree, 'model'), 0o640)
  utimensatNs(join(origin.paths.tree, 'model'), 1_600_000_000_000_000_007n)
  const { root } = await origin.commit()
  const { address } = await origin.share.open()
  const relay = await relayTo(t, address)
  const follower = await openFollower(t, [relay.address], options)
  await followRoot(follower, root)
  await follower.list('')
  relay.reset()
  return { origin, follower, relay, root }
}

/** File requests that the peer got, as `start-end` in extents. */
function ranges(relay: Relay): string[] {
  return relay.ranges.map(({ start, end }) => `${start / MIB}-${Math.ceil(end / MIB)}`)
}

describe('reading a placeholder', () => {
  test('fetches the extents that are read, and no others', async (t) => {
    const model = randomBytes(8 * MIB)
    const { follower, relay } = await pairWith(t, model)
    assert.deepEqual(await follower.fill('model', 5 * MIB + 10, 100), { complete: false })
    assert.deepEqual(ranges(relay), ['5-6'])
    const there = await follower.onDisk('model', 5 * MIB, MIB)
    assert.ok(there.equals(model.subarray(5 * MIB, 6 * MIB)))
    assert.ok((await follower.onDisk('model', 6 * MIB, MIB)).every((byte) => byte === 0))
    await follower.fill('model', 5 * MIB, MIB)
    assert.equal(relay.ranges.length, 1, 'what is here is not asked for again')
  })

  test('at the end of a 64 MiB file fetches less than 8 MiB', async (t) => {
    const { follower, relay, origin } = await pairWith(t, randomBytes(64 * MIB))
    // As a loader does it: the head of the file, then one tensor.
    await follower.fill('model', 0, 128 * 1024)
    for (let offset = 63 * MIB; offset < 64 * MIB; offset += 128 * 1024) {
      await follower.fill('model', offset, 128 * 1024)
    }
    const wanted = await readFile(join(origin.paths.tree, 'model'))
    const there = await follower.onDisk('model', 63 * MIB, MIB)
    assert.ok(there.equals(wanted.subarray(63 * MIB)))
    await waitFor('the read-ahead to end', () => follower.hydrator.stats().active === 0)
    assert.ok(relay.bodyBytes < 8 * MIB, `${relay.bodyBytes} bytes`)
  })

  test('asks once for an extent that many read', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(4 * MIB))
    await Promise.all(Array.from({ length: 30 }, (_, i) => follower.fill('model', MIB + i, 500)))
    assert.deepEqual(ranges(relay), ['1-2'])
  })

  test('reads ahead for a sequential reader, up to the end and not beyond', async (t) => {
    const model = randomBytes(24 * MIB + 5)
    const { follower, relay } = await pairWith(t, model)
    for (let offset = 0; offset < 4 * MIB; offset += MIB) {
      await follower.fill('model', offset, MIB)
    }
    await waitFor('completion by read-ahead', () => follower.completed.length === 1)
    const whole = await follower.onDisk('model', 0, model.length)
    assert.ok(whole.equals(model))
    const total = relay.ranges.reduce((sum, { start, end }) => sum + end - start, 0)
    assert.equal(total, model.length, 'every byte was asked for once')
    assert.ok(relay.ranges.length < 12, `${relay.ranges.length} requests`)
  })

  test('fills a whole file at once, without gaps', async (t) => {
    const model = randomBytes(40 * MIB + 1)
    const { follower, relay } = await pairWith(t, model)
    assert.deepEqual(await follower.fill('model', 0, model.length), { complete: true })
    assert.ok((await follower.onDisk('model', 0, model.length)).equals(model))
    assert.ok(relay.most <= 8, `${relay.most} requests at a time`)
    assert.ok(relay.ranges.every(({ start, end }) => end - start <= 8 * MIB))
  })

  test('past the end needs nothing', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(MIB + 5))
    assert.deepEqual(await follower.fill('model', 10 * MIB, MIB), { complete: false })
    assert.deepEqual(await follower.fill('model', 0, 0), { complete: false })
    assert.deepEqual(relay.ranges, [])
  })

  test('takes a descriptor that somebody else has open, also of a file without a name', async (t) => {
    const model = randomBytes(2 * MIB)
    const { follower } = await pairWith(t, model)
    const id = await follower.id('model')
    const handle = await open(follower.at('model'), 'r+')
    try {
      await rm(follower.at('model'))
      const at = `/proc/${process.pid}/fd/${handle.fd}`
      await follower.hydrator.fill('model', id, 0, 100, { at })
      const { buffer } = await handle.read(Buffer.alloc(MIB), 0, MIB, 0)
      assert.ok(buffer.equals(model.subarray(0, MIB)))
    } finally {
      await handle.close()
    }
  })

  test('says ESTALE where the path has another file', async (t) => {
    const { follower } = await pairWith(t, randomBytes(100))
    const id = await follower.id('model')
    await rename(follower.at('model'), follower.at('moved'))
    await assert.rejects(follower.hydrator.fill('model', id, 0, 1), { errno: 'ESTALE' })
    await writeFile(follower.at('model'), 'another')
    await assert.rejects(follower.hydrator.fill('model', id, 0, 1), { errno: 'ESTALE' })
    assert.deepEqual(await follower.hydrator.fill('moved', id, 0, 1), { complete: true })
  })
})

describe('the last byte', () => {
  test('makes a complete file, as if it had been written here', async (t) => {
    const model = randomBytes(3 * MIB + 7)
    const { follower, origin } = await pairWith(t, model)
    for (const extent of [2, 0, 3, 1]) {
      await follower.fill('model', extent * MIB, 10)
    }
    assert.deepEqual(await follower.fill('model', 0, 10), { complete: true })
    assert.equal(readRecord(follower.at('model')), undefined)
    const stats = await lstat(follower.at('model'), { bigint: true })
    assert.equal(Number(stats.mode) & 0o7777, 0o640)
    assert.equal(stats.mtimeNs, 1_600_000_000_000_000_007n)
    assert.equal((await follower.extents('model')).present, 0, 'the map is gone')

    await waitFor('onComplete', () => follower.completed.length === 1)
    const [{ path, id, file } = assert.fail()] = follower.completed
    assert.equal(path, 'model')
    assert.deepEqual(id, await follower.id('model'))
    assert.equal(file.stamp.ctimeNs, stats.ctimeNs)
    const handle = await open(join(origin.paths.tree, 'model'))
    const expected = await importFile(handle, model.length, { putNode: async () => undefined })
    await handle.close()
    assert.deepEqual(file.leaves, expected.leaves)
    assert.equal(file.tsizeBytes, expected.tsizeBytes)
    assert.ok(file.cid.equals(expected.cid))
  })

  test('is told once, also when read-ahead and many reads bring it', async (t) => {
    const { follower } = await pairWith(t, randomBytes(6 * MIB))
    await Promise.all(
      Array.from({ length: 12 }, (_, i) => follower.fill('model', (i % 6) * MIB, MIB)),
    )
    await waitFor('completion', () => readRecord(follower.at('model')) === undefined)
    assert.deepEqual(await follower.fill('model', 0, 5), { complete: true })
    await follower.hydrator.close()
    assert.equal(follower.completed.length, 1)
  })

  test('keeps a mode that was changed while it was a placeholder', async (t) => {
    const { follower } = await pairWith(t, randomBytes(2 * MIB))
    await follower.fill('model', 0, 1)
    const record = readRecord(follower.at('model'))
    assert.ok(record)
    lsetxattr(follower.at('model'), RECORD_XATTR, encodeRecord({ ...record, mode: 0o600 }))
    assert.deepEqual(await follower.fill('model', 0, 2 * MIB), { complete: true })
    assert.equal((await lstat(follower.at('model'))).mode & 0o777, 0o600)
  })
})

describe('a peer that fails', () => {
  test('in the middle: what is here can be read, the rest is EIO, and comes when it is back', async (t) => {
    const model = randomBytes(6 * MIB)
    const { follower, relay } = await pairWith(t, model, { limits: { deadlineMs: 1_000 } })
    await follower.fill('model', 0, MIB)
    relay.behaviour = 'refuse'
    await follower.fill('model', 10, 1000)
    await assert.rejects(follower.fill('model', 4 * MIB, MIB), { errno: 'EIO' })
    assert.equal(follower.hydrator.stats().errors, 1)
    relay.behaviour = 'pass'
    await follower.fill('model', 4 * MIB, MIB)
    const there = await follower.onDisk('model', 4 * MIB, MIB)
    assert.ok(there.equals(model.subarray(4 * MIB, 5 * MIB)))
  })

  test('within a transfer, and comes back within the deadline: nobody notices', async (t) => {
    const model = randomBytes(8 * MIB)
    const { follower, relay } = await pairWith(t, model)
    relay.behaviour = 'cut'
    const filling = follower.fill('model', 0, model.length)
    await waitFor('a broken transfer', () => relay.ranges.length >= 2)
    relay.behaviour = 'pass'
    assert.deepEqual(await filling, { complete: true })
    assert.ok((await follower.onDisk('model', 0, model.length)).equals(model))
  })

  test('by silence: EIO after the deadline, in one line that says why', async (t) => {
    const lines: string[] = []
    const logger = {
      error: (message: string, fields = {}) => {
        lines.push(`${message} ${JSON.stringify(fields)}`)
      },
      warn: () => undefined,
      info: () => undefined,
      debug: () => undefined,
    }
    const { follower, relay, origin } = await pairWith(t, randomBytes(2 * MIB), {
      limits: { deadlineMs: 1_000 },
      fetchLimits: { firstByteMs: 300 },
      logger,
    })
    relay.behaviour = 'swallow'
    await assert.rejects(follower.fill('model', 0, 1), { errno: 'EIO' })
    assert.equal(lines.length, 1)
    const { cid } =
      (await origin.database.files.get(await idOf(join(origin.paths.tree, 'model')))) ??
      assert.fail()
    assert.match(lines[0] ?? '', /read model at 0: failed/)
    assert.match(lines[0] ?? '', new RegExp(cid.toString()))
    assert.match(lines[0] ?? '', /no answer within 300 ms/)
  })

  test('by lying: nothing wrong is ever written', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(2 * MIB), {
      limits: { deadlineMs: 1_000 },
    })
    relay.behaviour = 'lie'
    await assert.rejects(follower.fill('model', 0, 10), { errno: 'EIO' })
    assert.ok((await follower.onDisk('model', 0, 2 * MIB)).every((byte) => byte === 0))
  })

  test('while another one has it: the read goes on there', async (t) => {
    const model = randomBytes(3 * MIB)
    const origin = await openOrigin(t)
    await writeFile(join(origin.paths.tree, 'model'), model)
    const { root } = await origin.commit()
    const { address } = await origin.share.open()
    const [bad, good] = [await relayTo(t, address), await relayTo(t, address)]
    const follower = await openFollower(t, [bad.address, good.address])
    await followRoot(follower, root)
    await follower.list('')
    bad.behaviour = 'cut'
    await follower.fill('model', 0, model.length)
    assert.ok((await follower.onDisk('model', 0, model.length)).equals(model))
  })

  test('by being slow: many reads take turns, and none runs into its deadline', async (t) => {
    const model = randomBytes(40 * MIB)
    const { follower, relay } = await pairWith(t, model, {
      limits: { deadlineMs: 1_000, jobs: 2, aheadJobs: 1, turnMs: 50 },
    })
    relay.behaviour = 'slow'
    const reads = [0, 8, 16, 24].map((extent) => follower.fill('model', extent * MIB, 8 * MIB))
    await Promise.all([...reads, follower.fill('model', 36 * MIB, 10)])
    assert.ok((await follower.onDisk('model', 0, 32 * MIB)).equals(model.subarray(0, 32 * MIB)))
  })

  test('a caller that goes away is let go at once', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(2 * MIB))
    relay.behaviour = 'swallow'
    const stop = new AbortController()
    const id = await follower.id('model')
    const filling = follower.hydrator.fill('model', id, 0, 1, { signal: stop.signal })
    await waitFor('the request', () => relay.ranges.length === 1)
    stop.abort(new Error('the reader was killed'))
    await assert.rejects(filling, /the reader was killed/)
    await waitFor('the request to end', () => follower.hydrator.stats().active === 0)
  })
})

describe('what is recorded as present', () => {
  test('is durable when a file was idle, and is not fetched again by the next daemon', async (t) => {
    const model = randomBytes(8 * MIB)
    const { follower, relay } = await pairWith(t, model)
    await follower.fill('model', 0, 1)
    await follower.fill('model', 5 * MIB, 1)
    await waitFor('the extent map', async () => (await follower.extents('model')).present === 2)
    const next = await openFollower(t, [relay.address], { store: follower })
    relay.reset()
    await next.fill('model', 5 * MIB, MIB)
    assert.deepEqual(relay.ranges, [])
    await next.fill('model', 2 * MIB, MIB)
    assert.deepEqual(ranges(relay), ['2-3'])
  })

  test('is only what the map proves: the rest is fetched again', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(4 * MIB), {
      limits: { idleMs: 600_000 },
    })
    await follower.fill('model', 0, 1)
    // As after kill -9: nothing was synced, no map was written.
    const next = await openFollower(t, [relay.address], { store: follower })
    relay.reset()
    await next.fill('model', 0, 1)
    assert.deepEqual(ranges(relay), ['0-1'])
  })

  test('is written when the daemon stops', async (t) => {
    const { follower } = await pairWith(t, randomBytes(4 * MIB), { limits: { idleMs: 600_000 } })
    await follower.fill('model', 0, 1)
    await follower.hydrator.close()
    assert.equal((await follower.extents('model')).has(0), true)
    await assert.rejects(follower.fill('model', 0, 1), { code: 'closed' })
  })

  test('completes a file whose last extents came before the daemon stopped', async (t) => {
    const model = randomBytes(3 * MIB)
    const { follower, relay } = await pairWith(t, model)
    await follower.fill('model', 0, MIB)
    await follower.fill('model', 2 * MIB, MIB)
    await follower.hydrator.close()
    const next = await openFollower(t, [relay.address], { store: follower })
    assert.deepEqual(await next.fill('model', MIB, 1), { complete: true })
    assert.ok((await next.onDisk('model', 0, model.length)).equals(model))
  })
})

describe('detaching', () => {
  test('ends the writes, and forgets what was present', async (t) => {
    const { follower, relay } = await pairWith(t, randomBytes(16 * MIB))
    await follower.fill('model', 0, MIB)
    relay.behaviour = 'slow'
    const filling = follower.fill('model', 4 * MIB, 8 * MIB)
    const failed = assert.rejects(filling, { errno: 'ECANCELED' })
    await waitFor('a transfer', () => relay.bodyBytes > 3 * MIB)
    await follower.hydrator.detach(await follower.id('model'))
    await failed
    const handle = await open(follower.at('model'), 'r+')
    await handle.truncate(0)
    await handle.close()
    relay.behaviour = 'pass'
    await waitFor('all requests to end', () => follower.hydrator.stats().active === 0)
    assert.equal((await lstat(follower.at('model'))).size, 0)
    assert.equal((await follower.extents('model')).present, 0)
  })

  test('of what nobody knows is nothing', async (t) => {
    const { follower } = await pairWith(t, randomBytes(10))
    await follower.hydrator.detach({ ino: 1n, btimeNs: 2n })
  })
})

describe('without asking a peer', () => {
  test('a file comes from its leaves in other files here', async (t) => {
    const model = randomBytes(3 * MIB + 50)
    const { follower, relay, root } = await pairWith(t, model)
    const here = await openOrigin(t)
    await writeFile(join(here.paths.tree, 'the same'), model)
    await here.commit()
    const second = await openFollower(t, [relay.address], { store: here })
    await rm(here.paths.tree, { recursive: true })
    await mkdir(here.paths.tree)
    await followRoot(second, root)
    await second.list('')
    relay.reset()
    assert.deepEqual(await second.fill('model', 0, model.length), { complete: true })
    assert.deepEqual(relay.ranges, [])
    assert.ok((await second.onDisk('model', 0, model.length)).equals(model))
    assert.equal(readRecord(follower.at('model'))?.kind, 'file')
  })

  test('and without any, a read of what is not here fails at once', async (t) => {
    const { follower } = await pairWith(t, randomBytes(2 * MIB))
    const alone = await openFollower(t, [], { store: follower, limits: { deadlineMs: 600_000 } })
    await assert.rejects(alone.fill('model', 0, 1), { errno: 'EIO', code: 'no-peers' })
  })
})

describe('a tree that another program made', () => {
  for (const rawLeaves of [false, true]) {
    const kind = rawLeaves ? 'raw leaves' : 'data in nodes'
    test(`with chunks of 256 KiB and ${kind} is read as well`, async (t) => {
      const peer = await fakePeer(t)
      const model = randomBytes(3 * MIB + 99)
      const store = {
        async put(cid: CID, input: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
          peer.blocks.set(cid.toString(), input instanceof Uint8Array ? input : assert.fail())
          return cid
        },
      }
      const file = await importUnixfs({ path: 'd/model', content: model }, store, { rawLeaves })
      peer.files.set(file.cid.toString(), model)
      const links = [{ Name: 'model', Hash: file.cid, Tsize: Number(file.size) }]
      const data = new UnixFS({ type: 'directory' }).marshal()
      const directory = dagPb.encode(dagPb.prepare({ Data: data, Links: links }))
      const root = blockOf(0x70, directory)
      peer.blocks.set(root.toString(), directory)
      const follower = await openFollower(t, [peer.address])
      await followRoot(follower, root)
      await follower.list('')
      await follower.fill('model', MIB + 1000, 10)
      const part = await follower.onDisk('model', MIB, MIB)
      assert.ok(part.equals(model.subarray(MIB, 2 * MIB)))
      assert.deepEqual(await follower.fill('model', 0, model.length), { complete: true })
      assert.ok((await follower.onDisk('model', 0, model.length)).equals(model))
      await waitFor('onComplete', () => follower.completed.length === 1)
      assert.equal(follower.completed[0]?.file.leaves.length, rawLeaves ? 13 : 0)
      assert.equal(follower.completed[0]?.file.tsizeBytes, Number(file.size))
    })
  }
})

describe('a DAG that is not as it says', () => {
  test('of another size than its record is EIO at once', async (t) => {
    const { follower } = await pairWith(t, randomBytes(2 * MIB), {
      limits: { deadlineMs: 600_000 },
    })
    const record = readRecord(follower.at('model'))
    assert.ok(record)
    const sizeBytes = 5 * MIB
    lsetxattr(follower.at('model'), RECORD_XATTR, encodeRecord({ ...record, sizeBytes }))
    const handle = await open(follower.at('model'), 'r+')
    await handle.truncate(sizeBytes)
    await handle.close()
    await assert.rejects(follower.fill('model', 0, 1), { errno: 'EIO', code: 'malformed-file' })
  })
})

async function idOf(path: string) {
  const stats = await lstat(path, { bigint: true })
  return { ino: stats.ino, btimeNs: stats.birthtimeNs }
}
