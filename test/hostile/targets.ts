import assert from 'node:assert/strict'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { ModelcacheError } from '../../src/base/index.ts'
import { MAX_BLOCK_BYTES } from '../../src/blocks/index.ts'
import { fromOption, rootOption } from '../../src/config/index.ts'
import { LineDecoder, parseLine } from '../../src/daemon/control-wire.ts'
import {
  decodeCommit,
  encodeCommit,
  fileLeaves,
  linksOf,
  listDirectory,
  nodesAndFilesOf,
  readMeta,
  statNode,
} from '../../src/dag/index.ts'
import { multiaddrOf, parsePeerAddress } from '../../src/ipfs/peer-address.ts'
import { decodeChanges } from '../../src/mount/changes.ts'
import { encodeFrame, FrameDecoder, type Message } from '../../src/mount/frames.ts'
import { SnapshotParts } from '../../src/mount/snapshot-parts.ts'
import { askedRange } from '../../src/share/byte-range.ts'
import { isLoopbackHost } from '../../src/share/host-check.ts'
import { decodeMap } from '../../src/tree/extent-map.ts'
import { createIgnoreRules } from '../../src/tree/ignore-rules.ts'
import {
  badName,
  createNameClassifier,
  decodeRecord,
  encodeRecord,
  type PlaceholderRecord,
} from '../../src/tree/index.ts'
import {
  decodeDirectoryRow,
  decodeFileRow,
  decodeObjectRow,
  encodeDirectoryRow,
  encodeFileRow,
  encodeObjectRow,
} from '../../src/tree/rows.ts'
import { decodeCommitLine, encodeCommitLine } from '../../src/writeback/commit-log.ts'
import { spoilt, spoiltText } from './inputs.ts'

/** One parser of foreign bytes, what it is fed with, and what must hold for each input. */
export interface Target {
  readonly name: string
  readonly property: fc.IRawProperty<unknown>
}

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 })
const cidOf = (code: number) =>
  digest.map((bytes) => CID.createV1(code, Digest.create(0x12, bytes)))
const anyCid = fc.oneof(cidOf(raw.code), cidOf(dagPb.code), cidOf(dagCbor.code))
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const size = fc.maxSafeNat()
const mode = fc.nat(0o7777)
const name = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
  fc.constantFrom('.', '..', 'a/b', '', 'x'.repeat(256), 'nul\0', '\ufffd', 'model.bin'),
)

/** The only way for a parser to refuse: an error of ours, which has a code. */
function refusing<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch (error) {
    assert.ok(error instanceof ModelcacheError, `threw ${error}`)
    return undefined
  }
}

async function refusingLater<T>(parse: () => Promise<T>): Promise<T | undefined> {
  try {
    return await parse()
  } catch (error) {
    assert.ok(error instanceof ModelcacheError, `threw ${error}`)
    return undefined
  }
}

/** What is accepted means the same when it is written and read again. */
function roundTrip<T>(
  bytes: Uint8Array,
  decode: (bytes: Uint8Array) => T,
  encode: (value: T) => Uint8Array,
) {
  const value = refusing(() => decode(bytes))
  if (value !== undefined) {
    assert.deepEqual(decode(encode(value)), value)
  }
}

async function drained<T>(items: AsyncIterable<T>, most: number): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) {
    all.push(item)
    assert.ok(all.length <= most, `more than ${most} items of one block`)
  }
  return all
}

const record = fc
  .record({
    kind: fc.constantFrom('file' as const, 'directory' as const),
    cid: anyCid,
    metaCid: fc.option(cidOf(dagCbor.code), { nil: undefined }),
    commitCid: fc.option(cidOf(dagCbor.code), { nil: undefined }),
    mode,
    sizeBytes: size,
    mtimeNs: int64,
  })
  .map((one: PlaceholderRecord) => encodeRecord(one))

const commit = fc
  .record({
    tree: cidOf(dagPb.code),
    meta: cidOf(dagCbor.code),
    rootMode: mode,
    rootMtimeNs: int64,
    parents: fc.array(cidOf(dagCbor.code), { maxLength: 3 }),
    sequence: size,
    key: digest,
  })
  .map((one) => encodeCommit(one).bytes)

const meta = fc
  .array(
    fc.record({
      name,
      type: fc.constantFrom('f', 'd', 'l', 'x'),
      mode: fc.oneof(mode, fc.integer()),
      mtime: int64,
      size: fc.oneof(size, fc.integer()),
      target: fc.option(name, { nil: null }),
      meta: fc.option(cidOf(dagCbor.code), { nil: null }),
    }),
    { maxLength: 4 },
  )
  .map((rows) =>
    dagCbor.encode({
      meta: 1,
      entries: rows.map((one) => [
        one.name,
        one.type,
        one.mode,
        one.mtime,
        one.size,
        one.target,
        one.meta,
      ]),
    }),
  )

const links = fc.array(fc.record({ Name: name, Hash: anyCid, Tsize: size }), { maxLength: 5 })
const unixfs = fc
  .record({
    type: fc.constantFrom(
      'file',
      'directory',
      'hamt-sharded-directory',
      'symlink',
      'raw',
      'metadata',
    ),
    data: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
    blockSizes: fc.array(fc.bigInt({ min: 0n, max: 2n ** 62n }), { maxLength: 5 }),
    fanout: fc.constantFrom(undefined, 0n, 7n, 8n, 256n, 2n ** 20n, 2n ** 40n),
    mode: fc.option(mode, { nil: undefined }),
  })
  .map((one) => {
    const { data, fanout, mode: bits } = one
    const node = new UnixFS({
      type: one.type,
      blockSizes: one.type === 'file' ? one.blockSizes : [],
      ...(data === undefined ? {} : { data }),
      ...(fanout === undefined ? {} : { fanout }),
      ...(bits === undefined ? {} : { mode: bits }),
    })
    return node.marshal()
  })
const node = fc
  .tuple(unixfs, links)
  .map(([Data, Links]) => dagPb.encode(dagPb.prepare({ Data, Links })))

const SOME_NODE = CID.createV1(dagPb.code, Digest.create(0x12, new Uint8Array(32)))
const SOME_META = CID.createV1(dagCbor.code, Digest.create(0x12, new Uint8Array(32)))
const MOST_ENTRIES = MAX_BLOCK_BYTES / 8

const fileRow = fc
  .record({
    stamp: fc.record({ sizeBytes: size, mtimeNs: int64, ctimeNs: int64 }),
    cid: anyCid,
    tsizeBytes: size,
    oid: fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  })
  .map((one) => encodeFileRow(one))
const directoryRow = fc
  .record({
    cid: cidOf(dagPb.code),
    tsizeBytes: size,
    mode,
    mtimeNs: int64,
    carried: fc.array(fc.record({ name: fc.string({ maxLength: 9 }), cid: anyCid }), {
      maxLength: 3,
    }),
  })
  .map((one) => encodeDirectoryRow(one))
const objectRow = fc
  .record({
    id: fc.record({ ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), btimeNs: int64 }),
    cid: anyCid,
  })
  .map((one) => encodeObjectRow(one))

const decimal = fc.oneof(int64.map(String), fc.integer(), fc.constantFrom('', '-', '1e9', null))
const inode = { ino: decimal, btime: decimal }
const stamp = fc.record({ size: decimal, mtime: decimal, ctime: decimal })
const anyChange = fc.record({
  kind: fc.constantFrom('dirty', 'stamp', 'final', 'gone', 'other'),
  path: fc.oneof(name, fc.record({ b64: fc.base64String() })),
  by: fc.constantFrom('name', 'writer', 'x'),
  old: stamp,
  new: stamp,
  next: stamp,
  ...inode,
})
const part = fc.record({
  ...inode,
  path: name,
  mode: decimal,
  mtime: decimal,
  explicit: fc.boolean(),
  more: fc.boolean(),
  entries: fc.array(
    fc.tuple(
      name,
      fc.constantFrom('f', 'd', 'l', 'o', 'z'),
      decimal,
      decimal,
      decimal,
      decimal,
      decimal,
      decimal,
      fc.oneof(fc.constant(null), name, fc.base64String()),
    ),
    { maxLength: 3 },
  ),
})

const loggedCommit = fc
  .record({
    root: cidOf(dagCbor.code),
    tree: cidOf(dagPb.code),
    meta: fc.option(cidOf(dagCbor.code), { nil: undefined }),
    rootMode: mode,
    rootMtimeNs: int64,
    sequence: size,
    at: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2200-01-01') }),
    adopted: fc.boolean(),
  })
  .map((one) => encodeCommitLine(one))

const address = fc.constantFrom(
  'http://127.0.0.1:4711/t/abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG',
  'https://example.org:443/t/token',
  '/ip4/127.0.0.1/tcp/4711/http/http-path/t%2Ftoken',
  '/dns4/example.org/tcp/443/tls/http',
)

/** All parsers in TypeScript of what comes from peers, users, the disk, or the other process. */
export const TARGETS: readonly Target[] = [
  {
    name: 'record of a placeholder',
    property: fc.property(spoilt(record), (bytes) => roundTrip(bytes, decodeRecord, encodeRecord)),
  },
  {
    name: 'commit block',
    property: fc.property(spoilt(commit), (bytes) =>
      roundTrip(bytes, decodeCommit, (value) => encodeCommit(value).bytes),
    ),
  },
  {
    name: 'meta block',
    property: fc.asyncProperty(spoilt(meta), async (bytes) => {
      const entries = await refusingLater(() =>
        drained(
          readMeta(async () => bytes, SOME_META),
          MOST_ENTRIES,
        ),
      )
      for (const one of entries ?? []) {
        assert.equal(badName(one.name), undefined)
        assert.ok(one.mode >= 0 && one.mode <= 0o7777 && one.sizeBytes >= 0)
      }
    }),
  },
  {
    name: 'directory node',
    property: fc.asyncProperty(spoilt(node), async (bytes) => {
      const entries = await refusingLater(() =>
        drained(
          listDirectory(async () => bytes, SOME_NODE),
          MOST_ENTRIES,
        ),
      )
      const names = (entries ?? []).map((one) => one.name)
      assert.deepEqual(names.map(badName).filter(Boolean), [])
      assert.equal(new Set(names).size, names.length)
    }),
  },
  {
    name: 'file node',
    property: fc.asyncProperty(spoilt(node), size, async (bytes, end) => {
      await refusingLater(() => statNode(async () => bytes, SOME_NODE))
      const range = { start: Math.floor(end / 2), end }
      const leaves = await refusingLater(() =>
        drained(
          fileLeaves(async () => bytes, SOME_NODE, range),
          MOST_ENTRIES,
        ),
      )
      for (const leaf of leaves ?? []) {
        assert.ok(leaf.offset < range.end && leaf.offset + leaf.length > range.start)
      }
    }),
  },
  {
    name: 'links of a stored node',
    property: fc.property(spoilt(fc.oneof(node, meta, commit)), (bytes) => {
      for (const cid of [SOME_NODE, SOME_META]) {
        const known = refusing(() => linksOf(cid, bytes))
        assert.ok(known !== undefined || nodesAndFilesOf(cid, bytes).length === 0)
      }
    }),
  },
  {
    name: 'extent map',
    property: fc.property(spoilt(fc.uint8Array({ maxLength: 64 })), fc.nat(400), (bytes, count) => {
      const bits = decodeMap(bytes, count)
      assert.ok(bits === undefined || bits.length === Math.ceil(count / 8))
    }),
  },
  {
    name: 'row of a file',
    property: fc.property(spoilt(fileRow), (bytes) =>
      roundTrip(bytes, decodeFileRow, encodeFileRow),
    ),
  },
  {
    name: 'row of a directory',
    property: fc.property(spoilt(directoryRow), (bytes) =>
      roundTrip(bytes, decodeDirectoryRow, encodeDirectoryRow),
    ),
  },
  {
    name: 'row of an object',
    property: fc.property(spoilt(objectRow), (bytes) =>
      roundTrip(bytes, (one) => decodeObjectRow(7n, one), encodeObjectRow),
    ),
  },
  {
    name: 'line of the commit log',
    property: fc.property(spoiltText(loggedCommit), (line) => {
      const value = refusing(() => decodeCommitLine(line))
      if (value !== undefined) {
        assert.deepEqual(decodeCommitLine(encodeCommitLine(value)), value)
      }
    }),
  },
  {
    name: 'frames of the keeper',
    property: fc.property(
      spoilt(fc.array(fc.object({ maxDepth: 2 }), { maxLength: 3 }).map(framesOf)),
      fc.nat(50),
      (bytes, cut) => {
        const decoder = new FrameDecoder()
        const whole: Message[] = []
        refusing(() => decoder.push(bytes, (message) => whole.push(message)))
        const pieces = new FrameDecoder()
        const pieced: Message[] = []
        refusing(() => {
          pieces.push(bytes.subarray(0, cut), (message) => pieced.push(message))
          pieces.push(bytes.subarray(cut), (message) => pieced.push(message))
        })
        assert.deepEqual(pieced, whole)
      },
    ),
  },
  {
    name: 'changes of the keeper',
    property: fc.property(
      fc.oneof(fc.array(anyChange, { maxLength: 3 }), fc.jsonValue()),
      (items) => {
        refusing(() => decodeChanges(items))
      },
    ),
  },
  {
    name: 'snapshot of the keeper',
    property: fc.property(fc.array(fc.oneof(part, fc.object()), { maxLength: 3 }), (parts) => {
      refusing(() => {
        const snapshot = new SnapshotParts()
        for (const one of parts) {
          snapshot.add(one)
        }
        snapshot.finish()
      })
    }),
  },
  {
    name: 'lines of the control socket',
    property: fc.property(
      spoiltText(fc.json().map((text) => `${text}\n`)),
      fc.nat(50),
      (text, cut) => {
        const bytes = Buffer.from(text)
        const whole: string[] = []
        new LineDecoder().push(bytes, (line) => whole.push(line))
        const pieces = new LineDecoder()
        const pieced: string[] = []
        pieces.push(bytes.subarray(0, cut), (line) => pieced.push(line))
        pieces.push(bytes.subarray(cut), (line) => pieced.push(line))
        assert.deepEqual(pieced, whole)
        for (const line of whole) {
          parseLine(line)
        }
      },
    ),
  },
  {
    name: 'address of a peer',
    property: fc.property(spoiltText(address), (text) => {
      const parsed = refusing(() => parsePeerAddress(text))
      if (parsed !== undefined) {
        assert.match(parsed.url, /^https?:\/\//)
        refusing(() => multiaddrOf(parsed.url))
      }
    }),
  },
  {
    name: 'range and host of a request',
    property: fc.property(
      spoiltText(fc.constantFrom('bytes=0-9', 'bytes=5-', 'bytes=-7', 'localhost:80', '127.0.0.1')),
      size,
      (text, bytes) => {
        isLoopbackHost(text)
        const asked = askedRange(text, bytes)
        if (asked.kind === 'part') {
          const { start, end } = asked.range
          assert.ok(start >= 0 && start < end && end <= bytes)
        }
      },
    ),
  },
  {
    name: 'value of --from',
    property: fc.property(spoiltText(anyCid.map(String)), (text) => {
      refusing(() => fromOption(text, '/w'))
      const root = refusing(() => rootOption(text))
      assert.ok(root === undefined || rootOption(root) === root)
    }),
  },
  {
    name: 'patterns of names',
    property: fc.property(
      fc.array(
        spoiltText(fc.constantFrom('*.private', '/notes/', '!keep', 'a/**/b', '[a-z]*', '\\#x')),
        {
          maxLength: 3,
        },
      ),
      fc.array(name, { maxLength: 4 }),
      (patterns, parts) => {
        const path = parts.join('/')
        createIgnoreRules(patterns)(path, parts.length % 2 === 0)
        createNameClassifier(patterns)(path, 'f')
      },
    ),
  },
]

function framesOf(messages: Message[]): Uint8Array {
  return new Uint8Array(Buffer.concat(messages.map((message) => encodeFrame(message))))
}
