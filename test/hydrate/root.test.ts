import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { openRoot, parseRoot } from '../../src/hydrate/index.ts'
import { blockOf, fakePeer } from '../ipfs/fake-peer.ts'
import { openFollower } from './follower.ts'
import { openOrigin } from './origin.ts'

describe('opening a root', () => {
  test('knows a commit and a bare directory', async (t) => {
    const origin = await openOrigin(t)
    await writeFile(join(origin.paths.tree, 'a'), 'a')
    const { root, tree } = await origin.commit()
    const getBlock = (cid: CID) => origin.blocks.getBytes(cid)
    const commit = await openRoot(root, getBlock)
    assert.ok(commit.tree.equals(tree) && commit.commit?.equals(root))
    assert.equal(commit.sequence, 1)
    assert.ok(commit.meta)
    const now = () => new Date(1_700_000_000_123)
    assert.deepEqual(await openRoot(tree, getBlock, { clock: { now } }), {
      tree,
      rootMode: 0o755,
      rootMtimeNs: 1_700_000_000_123_000_000n,
      sequence: 0,
    })
  })

  test('says what a root is not', async (t) => {
    const peer = await fakePeer(t)
    const follower = await openFollower(t, [peer.address])
    const bytes = [randomBytes(10), dagCbor.encode({ not: 'ours' }), randomBytes(20)] as const
    const cids = [blockOf(0x55, bytes[0]), blockOf(0x71, bytes[1]), blockOf(0x70, bytes[2])]
    for (const [index, cid] of cids.entries()) {
      peer.blocks.set(cid.toString(), bytes[index] ?? assert.fail())
      await assert.rejects(
        openRoot(cid, (one) => follower.network.getBlock(one)),
        { code: 'not-a-root', exitCode: 1, message: new RegExp(cid.toString()) },
      )
    }
  })

  test('says that nobody has it, and who was asked', async (t) => {
    const peer = await fakePeer(t)
    const follower = await openFollower(t, [peer.address])
    const cid = blockOf(0x71, randomBytes(5))
    await assert.rejects(
      openRoot(cid, (one) => follower.network.getBlock(one)),
      { code: 'root-not-found', exitCode: 1, message: new RegExp(`127.0.0.1:${peer.port}`) },
    )
  })

  test('refuses what is no CID as wrong usage', () => {
    for (const text of ['', 'nonsense', 'bafy', 'Qm']) {
      assert.throws(() => parseRoot(text), { code: 'bad-cid', exitCode: 2 })
    }
    const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
    assert.ok(parseRoot(cid).equals(CID.parse(cid)))
  })
})
