import assert from 'node:assert/strict'
import { mkdirSync, readdirSync } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { encodeCommit } from '../../src/dag/index.ts'
import { type Behaviour, blockOf, type FakePeer, fakePeer } from '../ipfs/fake-peer.ts'
import {
  type Finished,
  has,
  modelcache,
  mountpointsBelow,
  scrubbedEnvironment,
  tempDir,
  waitFor,
  withMount,
} from '../support/index.ts'
import { from, sharedOrigin } from './pair.ts'
import { processesIn } from './processes.ts'

const RAW = 0x55
const DAG_PB = 0x70
const DAG_CBOR = 0x71

/** One mount at a time is slow, since most wait for a deadline; more than this fill two cores. */
const AT_A_TIME = 3

/** Runs `mount` with these words, which must fail, and looks that it left nothing at all. */
async function refused(t: TestContext, words: string[]): Promise<Finished> {
  const base = tempDir(t)
  mkdirSync(join(base, 'm'))
  const env = scrubbedEnvironment(join(tempDir(t), 'home'))
  const args = ['mount', join(base, 'm'), '--store', join(base, 'a/new/store'), ...words]
  const run = { env, cwd: base, deadlineMs: 60_000 }
  t.after(async () => {
    if (mountpointsBelow(base).length > 0) await modelcache(['unmount', join(base, 'm')], run)
  })
  const finished = await modelcache(args, run)
  assert.deepEqual(mountpointsBelow(base), [], finished.stderr)
  assert.deepEqual(readdirSync(base, { recursive: true }), ['m'], finished.stderr)
  await waitFor('its processes to end', () => processesIn(base).length === 0)
  assert.equal(finished.stdout, '')
  assert.equal(finished.stderr.trimEnd().split('\n').length, 1, finished.stderr)
  return finished
}

/** A directory node, as a root that is good, and too large for a peer that sends byte by byte. */
function goodRoot(peer: FakePeer): CID {
  const Hash = blockOf(RAW, Buffer.from('a file'))
  const Links = Array.from({ length: 1000 }, (_, index) => {
    return { Name: `file ${String(index).padStart(4, '0')}`, Tsize: 6, Hash }
  })
  const Data = new UnixFS({ type: 'directory' }).marshal()
  return put(peer, DAG_PB, dagPb.encode({ Data, Links }))
}

function node(unixfs: UnixFS): Uint8Array {
  return dagPb.encode({ Data: unixfs.marshal(), Links: [] })
}

function put(peer: FakePeer, codec: number, bytes: Uint8Array): CID {
  const cid = blockOf(codec, bytes)
  peer.blocks.set(cid.toString(), bytes)
  return cid
}

const NOWHERE = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'

describe('--from is refused in one line, and nothing is left, when it is', {
  concurrency: AT_A_TIME,
}, () => {
  const rows: [what: string, value: string][] = [
    ['no CID', 'my-model'],
    ['empty', ''],
    ['a CID with a letter too few', NOWHERE.slice(0, -1)],
    ['the CID of a file', 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'],
    ['a name, which cannot be opened yet', 'ipns://k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uz'],
  ]
  for (const [what, value] of rows) {
    it(what, async (t) => {
      if (!has(t, 'fuse')) return
      const { code, stderr } = await refused(t, ['--from', value])
      assert.match(stderr, /--from/)
      assert.ok(stderr.includes(value), stderr)
      assert.match(stderr, /give the CID that `modelcache commit` prints/)
      assert.equal(code, 2)
    })
  }

  it('nowhere to be found, since nobody was named', async (t) => {
    if (!has(t, 'fuse')) return
    const { code, stderr } = await refused(t, ['--from', NOWHERE])
    assert.ok(stderr.includes(NOWHERE), stderr)
    assert.match(stderr, /--peer/)
    assert.equal(code, 1)
  })

  const wrong: [what: string, make: (peer: FakePeer) => CID, message: RegExp][] = [
    ['dag-cbor that is no commit', (p) => put(p, DAG_CBOR, dagCbor.encode({ a: 1 })), /no commit/],
    ['dag-cbor that is damaged', (p) => put(p, DAG_CBOR, Buffer.from('ffff', 'hex')), /no commit/],
    ['dag-pb that is damaged', (p) => put(p, DAG_PB, Buffer.from('ffff', 'hex')), /no UnixFS dir/],
    [
      'dag-pb that is no UnixFS',
      (p) => put(p, DAG_PB, dagPb.encode({ Data: Buffer.from('ffff', 'hex'), Links: [] })),
      /no UnixFS dir/,
    ],
    [
      'a UnixFS file',
      (p) => put(p, DAG_PB, node(new UnixFS({ type: 'file', data: Buffer.from('x') }))),
      /it is a file/,
    ],
    [
      'a UnixFS link',
      (p) => put(p, DAG_PB, node(new UnixFS({ type: 'symlink', data: Buffer.from('x') }))),
      /it is a symbolic link/,
    ],
  ]
  for (const [what, make, message] of wrong) {
    it(what, async (t) => {
      if (!has(t, 'fuse')) return
      const peer = await fakePeer(t)
      const cid = make(peer).toString()
      const { code, stderr } = await refused(t, ['--from', cid, '--peer', peer.address])
      assert.ok(stderr.includes(cid), stderr)
      assert.match(stderr, message)
      assert.match(stderr, /`modelcache commit`/, 'the remedy')
      assert.equal(code, 1)
    })
  }
})

describe('a peer that', { concurrency: AT_A_TIME }, () => {
  const behaviours: Behaviour[] = [
    'lacks',
    'silent',
    'trickles',
    'lies',
    'breaks',
    'stalls',
    'redirects',
    'endless',
  ]
  for (const behaviour of behaviours) {
    it(`is bad (${behaviour}) ends the mount with a reason, and nothing is left`, async (t) => {
      if (!has(t, 'fuse')) return
      const peer = await fakePeer(t, behaviour)
      const cid = goodRoot(peer).toString()
      const { code, stderr } = await refused(t, ['--from', cid, '--peer', peer.address])
      assert.ok(stderr.includes(cid), stderr)
      assert.ok(stderr.includes(`127.0.0.1:${peer.port}`), `names the peer: ${stderr}`)
      assert.match(stderr, /--peer/, 'the remedy')
      assert.doesNotMatch(stderr, /\/t\/token/, 'the token is a secret')
      assert.equal(code, 1)
    })
  }

  it('is down ends the mount with a reason, and nothing is left', async (t) => {
    if (!has(t, 'fuse')) return
    const peer = await fakePeer(t)
    const cid = goodRoot(peer).toString()
    await peer.close()
    const { code, stderr } = await refused(t, ['--from', cid, '--peer', peer.address])
    assert.ok(stderr.includes(cid), stderr)
    assert.ok(stderr.includes(`127.0.0.1:${peer.port}`), stderr)
    assert.equal(code, 1)
  })

  it('does not answer within --fetch-deadline ends the mount with a reason', async (t) => {
    if (!has(t, 'fuse')) return
    const peer = await fakePeer(t, 'silent')
    const cid = goodRoot(peer).toString()
    const words = ['--from', cid, '--peer', peer.address, '--fetch-deadline', '1']
    const { code, stderr } = await refused(t, words)
    assert.ok(stderr.includes(cid), stderr)
    assert.match(stderr, /--peer/, 'the remedy')
    assert.equal(code, 1)
  })

  it('is bad does not matter when another one is good', async (t) => {
    if (!has(t, 'fuse')) return
    const origin = await sharedOrigin(t, (at) => writeFile(join(at, 'file'), 'content\n'))
    const bad = await Promise.all(
      (['lacks', 'lies', 'breaks'] as const).map((behaviour) => fakePeer(t, behaviour)),
    )
    const peers = bad.flatMap(({ address }) => ['--peer', address])
    const second = await withMount(t, { args: [...peers, ...from(origin)] })
    assert.equal(await readFile(join(second.mountpoint, 'file'), 'utf8'), 'content\n')
  })

  const addresses = ['somewhere', 'ftp://127.0.0.1/t/abcdefgh', '/ip4/127.0.0.1/udp/4001/quic-v1']
  for (const address of addresses) {
    it(`has no address that is known (${address}) is refused`, async (t) => {
      if (!has(t, 'fuse')) return
      const { code, stderr } = await refused(t, ['--from', NOWHERE, '--peer', address])
      assert.ok(stderr.includes(address.replace('abcdefgh', '')), stderr)
      assert.match(stderr, /use the address that `modelcache share` prints/)
      assert.equal(code, 2)
    })
  }

  it('is not for us, with the token of another share, serves nothing', async (t) => {
    if (!has(t, 'fuse')) return
    const origin = await sharedOrigin(t, (at) => writeFile(join(at, 'file'), 'content\n'))
    const address = origin.address.replace(/\/t\/.*/, `/t/${'A'.repeat(43)}`)
    const { code, stderr } = await refused(t, from(origin, address))
    assert.ok(stderr.includes(origin.committed.root), stderr)
    assert.equal(code, 1)
  })
})

describe('a root', () => {
  it('whose tree nobody has is mounted, and says EIO where it is looked into', async (t) => {
    if (!has(t, 'fuse')) return
    const peer = await fakePeer(t)
    const lost = blockOf(DAG_PB, Buffer.from('nobody has this'))
    const { cid, bytes } = encodeCommit({
      tree: lost,
      meta: blockOf(DAG_CBOR, Buffer.from('nor this')),
      rootMode: 0o755,
      rootMtimeNs: 1_700_000_000_000_000_001n,
      parents: [],
      sequence: 1,
      key: new Uint8Array(32),
    })
    peer.blocks.set(cid.toString(), bytes)
    const mount = await withMount(t, {
      args: ['--from', cid.toString(), '--peer', peer.address, '--fetch-deadline', '4'],
    })
    await assert.rejects(readdir(mount.mountpoint), { code: 'EIO' })
    assert.equal((await stat(mount.mountpoint)).isDirectory(), true)
    await mount.unmount()
  })

  it('that is a bare UnixFS directory is opened with plain modes', async (t) => {
    if (!has(t, 'fuse')) return
    const origin = await sharedOrigin(t, async (at) => {
      await writeFile(join(at, 'secretive'), 'content\n', { mode: 0o600 })
    })
    const { tree } = origin.committed
    const second = await withMount(t, { args: ['--from', tree, '--peer', origin.address] })
    const path = join(second.mountpoint, 'secretive')
    assert.equal(((await stat(path)).mode & 0o7777).toString(8), '644')
    assert.equal(await readFile(path, 'utf8'), 'content\n')
    assert.equal((await second.commitAll()).tree, tree)
  })
})
