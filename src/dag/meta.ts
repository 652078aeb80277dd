import * as dagCbor from '@ipld/dag-cbor'
import type { CID } from 'multiformats/cid'
import { badName } from '../tree/index.ts'
import { CborFields, encodeCbor } from './cbor-block.ts'
import { mapAhead } from './map-ahead.ts'
import type { GetBlock, MetaEntry, NodeType, PutNode } from './types.ts'
import { checkTarget, readBlock } from './unixfs-node.ts'

/**
 * The meta block of a directory is a dag-cbor map with `meta`, its version, and either `entries`
 * or, where they are many, `parts`: the CIDs of blocks with entries. An entry is a list of name,
 * type, mode, mtime, size, meta CID or null, target or null; entries are sorted by the bytes of
 * their names, so that equal directories have equal CIDs.
 */
const VERSION = 1
/** Entries in one block. */
const MAX_ENTRIES = 4096
/** Bytes of the entries in one block, so that a block stays below 1 MiB. */
const MAX_PART_BYTES = 900 * 1024
/** Parts named by one block; some 1 MiB. More entries than 80 million are no directory. */
const MAX_PARTS = 20_000
const PARTS_AHEAD = 4

const MODE_MASK = 0o7777
/** A stranger's file does not become one that runs with its owner's rights. */
const SET_ID_BITS = 0o6000
const TYPES: readonly NodeType[] = ['f', 'd', 'l']

/** Builds the blocks and gives the CID of the first. */
export async function buildMeta(entries: Iterable<MetaEntry>, putNode: PutNode): Promise<CID> {
  const named = [...entries].map((entry) => ({ bytes: Buffer.from(entry.name), entry }))
  named.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  const parts: unknown[][] = [[]]
  let partBytes = 0
  for (const { entry } of named) {
    const tuple = tupleOf(entry)
    const length = dagCbor.encode(tuple).length
    if (partBytes + length > MAX_PART_BYTES || (parts.at(-1)?.length ?? 0) >= MAX_ENTRIES) {
      parts.push([])
      partBytes = 0
    }
    parts.at(-1)?.push(tuple)
    partBytes += length
  }
  const put = async (value: object) => {
    const { cid, bytes } = encodeCbor({ meta: VERSION, ...value })
    await putNode(cid, bytes)
    return cid
  }
  if (parts.length === 1) {
    return put({ entries: parts[0] })
  }
  const cids: CID[] = []
  for (const part of parts) {
    cids.push(await put({ entries: part }))
  }
  return put({ parts: cids })
}

/**
 * The entries of a meta block, validated: nothing in them can be a bad name, size, mode or target.
 * Of files the set-user-ID and set-group-ID bits are dropped.
 *
 * @throws ModelcacheError `malformed`, and what `getBlock` throws
 */
export async function* readMeta(
  getBlock: GetBlock,
  cid: CID,
  signal?: AbortSignal,
): AsyncGenerator<MetaEntry> {
  const fields = await readFields(getBlock, cid, signal)
  if (!fields.has('parts')) {
    yield* entriesOf(fields)
    return
  }
  const parts = fields
    .list('parts', MAX_PARTS)
    .map((part) => fields.asCid(part, 'a part', dagCbor.code))
  for await (const part of mapAhead(parts, PARTS_AHEAD, (one) =>
    readFields(getBlock, one, signal),
  )) {
    yield* entriesOf(part)
  }
}

async function readFields(getBlock: GetBlock, cid: CID, signal?: AbortSignal) {
  const what = `meta block ${cid}`
  const fields = new CborFields(await readBlock(getBlock, cid, signal), what)
  if (cid.code !== dagCbor.code || fields.get('meta') !== VERSION) {
    throw fields.malformed('it is no meta block of version 1')
  }
  return fields
}

function tupleOf(entry: MetaEntry): unknown[] {
  const { name, type, mode, mtimeNs, sizeBytes } = entry
  return [name, type, mode, mtimeNs, sizeBytes, entry.metaCid ?? null, entry.target ?? null]
}

function entriesOf(fields: CborFields): MetaEntry[] {
  return fields.list('entries', MAX_ENTRIES).map((tuple) => entryOf(fields, tuple))
}

function entryOf(fields: CborFields, tuple: unknown): MetaEntry {
  if (!Array.isArray(tuple) || tuple.length !== 7) {
    throw fields.malformed('an entry is not a list of seven')
  }
  const [name, typeName, mode, mtime, size, meta, target] = tuple as unknown[]
  if (typeof name !== 'string' || badName(name) !== undefined) {
    throw fields.malformed('an entry has a bad name')
  }
  const type = TYPES.find((one) => one === typeName)
  if (type === undefined) {
    throw fields.malformed(`${JSON.stringify(name)} has a bad type`)
  }
  const modeBits = fields.asInteger(mode, 'a mode', MODE_MASK)
  return {
    name,
    type,
    mode: type === 'f' ? modeBits & ~SET_ID_BITS : modeBits,
    mtimeNs: fields.asInt64(mtime, 'an mtime'),
    sizeBytes: fields.asInteger(size, 'a size', Number.MAX_SAFE_INTEGER),
    metaCid: metaCidOf(fields, type, meta),
    target: targetOf(fields, type, target),
  }
}

function metaCidOf(fields: CborFields, type: NodeType, value: unknown): CID | undefined {
  if (value === null) {
    return undefined
  }
  if (type !== 'd') {
    throw fields.malformed('an entry that is no directory has a meta block')
  }
  return fields.asCid(value, 'a meta block', dagCbor.code)
}

function targetOf(fields: CborFields, type: NodeType, value: unknown): string | undefined {
  if (type !== 'l' && value === null) {
    return undefined
  }
  if (type !== 'l' || typeof value !== 'string') {
    throw fields.malformed('a target where none belongs, or none where one does')
  }
  checkTarget(value)
  return value
}
