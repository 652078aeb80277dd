import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { blockOf, type FakePeer } from '../ipfs/fake-peer.ts'

const RAW = 0x55
const MIB = 1024 * 1024
/** What is good beside what is bad. */
export const GOOD = 'good bytes'

type Store = Pick<FakePeer, 'blocks'>
export interface Link {
  name: string
  cid: CID
  sizeBytes?: number
}

/** One directory of a stranger. */
export interface HostileDag {
  readonly name: string
  /** The names that may be shown; EIO: it cannot be listed; ENOENT: it is left out itself. */
  readonly names: readonly string[] | 'EIO' | 'ENOENT'
  /** Names whose bytes must not come. */
  readonly unreadable?: readonly string[]
  build(store: Store): CID
}

function put(store: Store, codec: number, bytes: Uint8Array): CID {
  const cid = blockOf(codec, bytes)
  store.blocks.set(cid.toString(), bytes)
  return cid
}

export function leaf(store: Store, text: string): CID {
  return put(store, RAW, new Uint8Array(Buffer.from(text)))
}

function node(store: Store, data: UnixFS, links: readonly Link[] = []): CID {
  const Links = links.map(({ name, cid, sizeBytes = 1 }) => ({
    Name: name,
    Hash: cid,
    Tsize: sizeBytes,
  }))
  // The importer sorts; a stranger need not.
  return put(
    store,
    dagPb.code,
    dagPb.encode({ Data: data.marshal(), Links: Links.toSorted(byName) }),
  )
}

const byName = (a: { Name: string }, b: { Name: string }) =>
  Buffer.compare(Buffer.from(a.Name), Buffer.from(b.Name))

export function directory(
  store: Store,
  links: readonly Link[],
  data = new UnixFS({ type: 'directory' }),
): CID {
  return node(store, data, links)
}

const good = (store: Store, name = 'good'): Link => ({
  name,
  cid: leaf(store, GOOD),
  sizeBytes: GOOD.length,
})
const other = (store: Store, name: string): Link => ({ name, cid: leaf(store, name) })

function file(store: Store, sizes: readonly bigint[], leaves: readonly CID[]): CID {
  const data = new UnixFS({ type: 'file', blockSizes: [...sizes] })
  return node(
    store,
    data,
    leaves.map((cid) => ({ name: '', cid })),
  )
}

function cidWith(code: number, digest: Uint8Array): CID {
  return CID.createV1(RAW, Digest.create(code, digest))
}

function shard(store: Store, fanout: bigint, links: readonly Link[] = []): CID {
  const data = new UnixFS({
    type: 'hamt-sharded-directory',
    fanout,
    hashType: 0x22n,
    data: new Uint8Array([1]),
  })
  return node(store, data, links)
}

/** A shard in a shard in a shard: deeper than a hash has bits. */
function deepShard(store: Store): CID {
  let inner = shard(store, 256n, [{ ...good(store), name: '00good' }])
  for (let level = 0; level < 500; level += 1) {
    inner = shard(store, 256n, [{ name: '00', cid: inner }])
  }
  return inner
}

/** Directories of 300 names that all lead to the next: 10^12 names of five blocks. */
function widthBomb(store: Store): CID {
  let inner = directory(store, [good(store)])
  for (let level = 0; level < 5; level += 1) {
    const cid = inner
    inner = directory(
      store,
      Array.from({ length: 300 }, (_, index) => ({ name: `n${index}`, cid })),
    )
  }
  return inner
}

/** A name that is no UTF-8: put in place of one of the same length. */
function notUtf8(store: Store): CID {
  const links = [good(store), other(store, 'QQQQ')]
  const cid = directory(store, links)
  const block = Buffer.from(store.blocks.get(cid.toString()) ?? new Uint8Array())
  block.fill(0xff, block.indexOf('QQQQ'), block.indexOf('QQQQ') + 4)
  return put(store, dagPb.code, new Uint8Array(block))
}

const withMode = new UnixFS({ type: 'directory', mode: 0o7777, mtime: { secs: 2n ** 62n } })

/** The table: what strangers can make, and what a mount shows of it. */
export const HOSTILE_DAGS: readonly HostileDag[] = [
  {
    name: 'names that are none',
    names: ['good'],
    build: (store) =>
      directory(store, [
        good(store),
        ...['a/b', '.', '..', '', 'nul\0', 'x'.repeat(256), '/etc/passwd', '../up'].map((name) =>
          other(store, name),
        ),
      ]),
  },
  {
    name: 'a name twice',
    names: ['good'],
    build: (store) => directory(store, [good(store), good(store)]),
  },
  { name: 'a name that is no UTF-8', names: ['good'], build: notUtf8 },
  {
    name: 'names that differ in case',
    names: ['Good', 'good'],
    build: (store) => directory(store, [good(store), good(store, 'Good')]),
  },
  {
    name: 'codecs that are not UnixFS',
    names: ['good'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'json', cid: put(store, 0x0129, new Uint8Array([0x7b, 0x7d])) },
        { name: 'cbor', cid: put(store, 0x71, new Uint8Array([0xa0])) },
      ]),
  },
  {
    name: 'hashes that vouch for nothing',
    names: ['good'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'md5', cid: cidWith(0xd5, new Uint8Array(16)) },
        { name: 'short', cid: cidWith(0x12, new Uint8Array(8)) },
        { name: 'identity', cid: cidWith(0x00, new Uint8Array(4000)) },
      ]),
  },
  ...[7n, 3n, 0n, 2n ** 20n, 2n ** 40n].map((fanout) => ({
    name: `a shard of fan-out ${fanout}`,
    names: 'ENOENT' as const,
    build: (store: Store) => shard(store, fanout, [{ ...good(store), name: '00good' }]),
  })),
  { name: 'shards without end', names: 'EIO', build: deepShard },
  {
    name: 'directories that unfold',
    names: Array.from({ length: 300 }, (_, index) => `n${index}`).toSorted(),
    build: widthBomb,
  },
  {
    name: 'files of sizes that lie',
    names: ['child-lies', 'good', 'large', 'sizes-more', 'zero-length'],
    unreadable: ['child-lies', 'sizes-more'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'large', cid: file(store, [2n ** 43n], [leaf(store, 'x')]) },
        { name: 'huge', cid: file(store, [2n ** 52n], [leaf(store, 'x')]) },
        { name: 'beyond', cid: file(store, [2n ** 62n], [leaf(store, 'x')]) },
        { name: 'sizes-more', cid: file(store, [100n], [leaf(store, 'ten bytes!')]) },
        {
          name: 'child-lies',
          cid: file(store, [10n], [file(store, [20n], [leaf(store, 'x'.repeat(20))])]),
        },
        { name: 'zero-length', cid: file(store, [0n, 0n], [leaf(store, ''), leaf(store, '')]) },
        { name: 'no-sizes', cid: file(store, [], [leaf(store, 'x')]) },
      ]),
  },
  {
    name: 'modes and times that are absurd',
    names: ['good'],
    build: (store) => directory(store, [good(store)], withMode),
  },
  {
    name: 'links that no disk can hold',
    names: ['good'],
    build: (store) =>
      directory(store, [
        good(store),
        ...['', 'x'.repeat(5000), 'nul\0'].map((target, index) => ({
          name: `link-${index}`,
          cid: node(store, new UnixFS({ type: 'symlink', data: Buffer.from(target) })),
        })),
      ]),
  },
  {
    name: 'nodes that are none',
    names: ['good'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'noise', cid: put(store, dagPb.code, new Uint8Array(Buffer.from('noise'))) },
        { name: 'metadata', cid: node(store, new UnixFS({ type: 'metadata' })) },
      ]),
  },
  {
    name: 'a leaf over 2 MiB',
    names: ['good', 'large'],
    unreadable: ['large'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'large', cid: put(store, RAW, new Uint8Array(3 * MIB)), sizeBytes: 3 * MIB },
      ]),
  },
  {
    // Bare UnixFS does not say what a name is: its node has to, and nobody can send this one.
    name: 'a node over 2 MiB',
    names: 'EIO',
    build: (store) => {
      const names = Array.from({ length: 40_000 }, (_, index) => `name-${index}`.padEnd(20, 'x'))
      const links = names.map((name) => other(store, name))
      return directory(store, [good(store), { name: 'inner', cid: directory(store, links) }])
    },
  },
  {
    name: 'bytes of another hash',
    names: ['bad', 'good'],
    unreadable: ['bad'],
    build: (store) => {
      const cid = leaf(store, 'as it should be')
      store.blocks.set(cid.toString(), new Uint8Array(Buffer.from('as it should BE')))
      return directory(store, [good(store), { name: 'bad', cid, sizeBytes: 15 }])
    },
  },
  {
    name: 'a block that nobody has',
    names: ['good', 'lost'],
    unreadable: ['lost'],
    build: (store) =>
      directory(store, [
        good(store),
        { name: 'lost', cid: cidWith(0x12, new Uint8Array(32)), sizeBytes: 9 },
      ]),
  },
]
