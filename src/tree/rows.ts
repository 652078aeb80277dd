import { CID } from 'multiformats/cid'
import { ByteReader, ByteWriter } from './bytes.ts'
import type { InodeId, Stamp } from './inode.ts'

/** What is known of a complete file; it holds while the file's stamp is the row's. */
export interface FileRow {
  stamp: Stamp
  cid: CID
  /** Bytes of the file's whole DAG, as Kubo counts them. */
  tsizeBytes: number
  /** The object that is a link to this file; null where there is none. */
  oid: bigint | null
  sha256?: Uint8Array | undefined
  gitSha1?: Uint8Array | undefined
}

/** A name that kept its entry of the previous root, since its file was not settled. */
export interface CarriedEntry {
  name: string
  /** Keeps the objects of the earlier version alive. */
  cid: CID
}

/** What the last commit, or the listing, made of a directory. */
export interface DirectoryRow {
  cid: CID
  /** A directory of bare UnixFS has none. */
  metaCid?: CID | undefined
  tsizeBytes: number
  /** Permission bits, 07777. */
  mode: number
  mtimeNs: bigint
  carried: CarriedEntry[]
}

/** What an object was made for. */
export interface ObjectRow {
  oid: bigint
  id: InodeId
  /** The file's CID when it was last settled. */
  cid: CID
}

const VERSION = 1
const SHA256_BYTES = 32
const SHA1_BYTES = 20
/** Bits of the field that says which optional parts follow. */
const HAS_OID = 1
const HAS_SHA256 = 2
const HAS_GIT_SHA1 = 4
const HAS_META = 1

/** A big-endian u64: keys sort by number. */
export function u64Key(value: bigint): Uint8Array {
  const key = new Uint8Array(8)
  new DataView(key.buffer).setBigUint64(0, value)
  return key
}

/** 16 bytes: inode number and birth time. A birth time before 1970 is wrapped, and unwrapped. */
export function inodeIdKey(id: InodeId): Uint8Array {
  const key = new Uint8Array(16)
  const view = new DataView(key.buffer)
  view.setBigUint64(0, id.ino)
  view.setBigInt64(8, id.btimeNs)
  return key
}

export function decodeInodeIdKey(key: Uint8Array): InodeId {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
  return { ino: view.getBigUint64(0), btimeNs: view.getBigInt64(8) }
}

export function encodeFileRow(row: FileRow): Uint8Array {
  const flags =
    (row.oid === null ? 0 : HAS_OID) |
    (row.sha256 === undefined ? 0 : HAS_SHA256) |
    (row.gitSha1 === undefined ? 0 : HAS_GIT_SHA1)
  const writer = new ByteWriter()
    .u8(VERSION)
    .u8(flags)
    .u64(row.stamp.sizeBytes)
    .i64(row.stamp.mtimeNs)
    .i64(row.stamp.ctimeNs)
    .u64(row.tsizeBytes)
  if (row.oid !== null) {
    writer.u64(row.oid)
  }
  writer.bytes(row.sha256 ?? new Uint8Array()).bytes(row.gitSha1 ?? new Uint8Array())
  return writeCid(writer, row.cid).finish()
}

export function decodeFileRow(bytes: Uint8Array): FileRow {
  const reader = openRow(bytes, 'file row')
  const flags = reader.u8()
  const stamp = { sizeBytes: reader.size(), mtimeNs: reader.i64(), ctimeNs: reader.i64() }
  const tsizeBytes = reader.size()
  const oid = flags & HAS_OID ? reader.u64() : null
  const sha256 = flags & HAS_SHA256 ? reader.bytes(SHA256_BYTES) : undefined
  const gitSha1 = flags & HAS_GIT_SHA1 ? reader.bytes(SHA1_BYTES) : undefined
  const cid = readCid(reader)
  reader.end()
  return { stamp, cid, tsizeBytes, oid, sha256, gitSha1 }
}

export function encodeDirectoryRow(row: DirectoryRow): Uint8Array {
  const writer = new ByteWriter()
    .u8(VERSION)
    .u8(row.metaCid === undefined ? 0 : HAS_META)
    .u64(row.tsizeBytes)
    .u32(row.mode)
    .i64(row.mtimeNs)
  writeCid(writer, row.cid)
  if (row.metaCid !== undefined) {
    writeCid(writer, row.metaCid)
  }
  writer.u32(row.carried.length)
  for (const { name, cid } of row.carried) {
    const nameBytes = Buffer.from(name)
    writeCid(writer.u16(nameBytes.length).bytes(nameBytes), cid)
  }
  return writer.finish()
}

export function decodeDirectoryRow(bytes: Uint8Array): DirectoryRow {
  const reader = openRow(bytes, 'directory row')
  const flags = reader.u8()
  const tsizeBytes = reader.size()
  const mode = reader.u32()
  const mtimeNs = reader.i64()
  const cid = readCid(reader)
  const metaCid = flags & HAS_META ? readCid(reader) : undefined
  const count = reader.u32()
  const carried: CarriedEntry[] = []
  for (let index = 0; index < count; index += 1) {
    const name = Buffer.from(reader.bytes(reader.u16())).toString()
    carried.push({ name, cid: readCid(reader) })
  }
  reader.end()
  return { cid, metaCid, tsizeBytes, mode, mtimeNs, carried }
}

export function encodeObjectRow(row: Omit<ObjectRow, 'oid'>): Uint8Array {
  const writer = new ByteWriter().u8(VERSION).bytes(inodeIdKey(row.id))
  return writeCid(writer, row.cid).finish()
}

export function decodeObjectRow(oid: bigint, bytes: Uint8Array): ObjectRow {
  const reader = openRow(bytes, 'object row')
  const id = decodeInodeIdKey(reader.bytes(16))
  const cid = readCid(reader)
  reader.end()
  return { oid, id, cid }
}

function openRow(bytes: Uint8Array, what: string): ByteReader {
  const reader = new ByteReader(bytes, what)
  const version = reader.u8()
  if (version !== VERSION) {
    throw reader.malformed(`version ${version}`)
  }
  return reader
}

function writeCid(writer: ByteWriter, cid: CID): ByteWriter {
  return writer.u16(cid.bytes.length).bytes(cid.bytes)
}

function readCid(reader: ByteReader): CID {
  const bytes = reader.bytes(reader.u16())
  try {
    return CID.decode(bytes)
  } catch (error) {
    throw reader.malformed(`no CID: ${error instanceof Error ? error.message : error}`)
  }
}
