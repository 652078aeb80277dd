import { CID } from 'multiformats/cid'
import { fgetxattr, getxattr, isErrno } from '../base/index.ts'
import { ByteReader, ByteWriter } from './bytes.ts'

/** Where the record of a placeholder is kept; hidden and refused through the mount. */
export const RECORD_XATTR = 'user.mc'

/**
 * What a placeholder stands for. While the file or directory has it, size, mode and mtime are
 * the record's and not the inode's.
 */
export interface PlaceholderRecord {
  /** `directory`: one that is not listed yet. */
  kind: 'file' | 'directory'
  /** UnixFS: the content of the file, or the directory. */
  cid: CID
  /** Of a directory: the block with modes and times of its entries. */
  metaCid?: CID | undefined
  /** The commit that it came with. */
  commitCid?: CID | undefined
  /** Permission bits, 07777. */
  mode: number
  sizeBytes: number
  /** Nanoseconds since 1970. */
  mtimeNs: bigint
}

const VERSION = 1
const KINDS = { file: 1, directory: 2 } as const
const MODE_MASK = 0o7777
const NS_PER_SECOND = 1_000_000_000n
/** A CIDv1 with an identity hash of 128 bytes is the longest that we accept. */
const MAX_CID_BYTES = 160

/** The record as docs/store.md lays it out. */
export function encodeRecord(record: PlaceholderRecord): Uint8Array {
  const nanoseconds = ((record.mtimeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  const cids = [record.cid, record.metaCid, record.commitCid]
  const writer = new ByteWriter().u8(VERSION).u8(KINDS[record.kind])
  for (const cid of cids) {
    writer.u16(cid?.bytes.length ?? 0)
  }
  writer
    .u32(record.mode & MODE_MASK)
    .u64(record.sizeBytes)
    .i64((record.mtimeNs - nanoseconds) / NS_PER_SECOND)
    .u32(Number(nanoseconds))
  for (const cid of cids) {
    writer.bytes(cid?.bytes ?? new Uint8Array())
  }
  return writer.finish()
}

/** Throws a ModelcacheError of code `malformed`, errno `EIO`, for anything that is no record. */
export function decodeRecord(bytes: Uint8Array): PlaceholderRecord {
  const reader = new ByteReader(bytes, 'placeholder record')
  const version = reader.u8()
  if (version !== VERSION) {
    throw reader.malformed(`version ${version}`)
  }
  const kindNumber = reader.u8()
  const kind =
    kindNumber === KINDS.file ? 'file' : kindNumber === KINDS.directory ? 'directory' : undefined
  if (kind === undefined) {
    throw reader.malformed(`kind ${kindNumber}`)
  }
  const lengths = [reader.u16(), reader.u16(), reader.u16()]
  const mode = reader.u32()
  const sizeBytes = reader.size()
  const seconds = reader.i64()
  const nanoseconds = reader.u32()
  if (mode > MODE_MASK || nanoseconds >= Number(NS_PER_SECOND)) {
    throw reader.malformed(`mode ${mode}, ${nanoseconds} ns`)
  }
  const [cid, metaCid, commitCid] = lengths.map((length) => readCid(reader, length))
  reader.end()
  if (cid === undefined) {
    throw reader.malformed('no CID')
  }
  const mtimeNs = seconds * NS_PER_SECOND + BigInt(nanoseconds)
  return { kind, cid, metaCid, commitCid, mode, sizeBytes, mtimeNs }
}

/**
 * The record of a file or directory, by path (a link is not followed) or descriptor; undefined
 * for what is complete and where the file system has no attributes. Its owner can always read a
 * placeholder, so what an ordinary user closed to himself is none.
 */
export function readRecord(file: string | number): PlaceholderRecord | undefined {
  const bytes = readAttribute(file)
  return bytes === undefined ? undefined : decodeRecord(bytes)
}

function readAttribute(file: string | number): Uint8Array | undefined {
  try {
    return typeof file === 'number' ? fgetxattr(file, RECORD_XATTR) : getxattr(file, RECORD_XATTR)
  } catch (error) {
    if (isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EACCES')) {
      return undefined
    }
    throw error
  }
}

function readCid(reader: ByteReader, length: number): CID | undefined {
  if (length === 0) {
    return undefined
  }
  if (length > MAX_CID_BYTES) {
    throw reader.malformed(`a CID of ${length} bytes`)
  }
  const bytes = reader.bytes(length)
  try {
    return CID.decode(bytes)
  } catch (error) {
    throw reader.malformed(`no CID: ${error instanceof Error ? error.message : error}`)
  }
}
