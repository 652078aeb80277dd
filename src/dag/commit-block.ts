import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { CborFields, encodeCbor } from './cbor-block.ts'
import type { Commit } from './types.ts'

const VERSION = 1
const MODE_MASK = 0o7777
/** A merge has two; more than this nobody makes. */
const MAX_PARENTS = 16
/** A raw Ed25519 public key. */
export const COMMIT_KEY_BYTES = 32

/**
 * The block of a commit: a dag-cbor map whose `commit` is its version.
 *
 * @throws ModelcacheError `malformed` for a commit that `decodeCommit` would refuse
 */
export function encodeCommit(commit: Commit): { cid: CID; bytes: Uint8Array } {
  const block = encodeCbor({
    commit: VERSION,
    tree: commit.tree,
    meta: commit.meta,
    mode: commit.rootMode,
    mtime: commit.rootMtimeNs,
    parents: commit.parents,
    sequence: commit.sequence,
    key: commit.key,
  })
  decodeCommit(block.bytes)
  return block
}

/** Throws a ModelcacheError of code `malformed` for anything that is no commit of this version. */
export function decodeCommit(bytes: Uint8Array): Commit {
  const fields = new CborFields(bytes, 'commit')
  if (fields.get('commit') !== VERSION) {
    throw fields.malformed('it is no commit of version 1')
  }
  const key = fields.get('key')
  if (!(key instanceof Uint8Array) || key.length !== COMMIT_KEY_BYTES) {
    throw fields.malformed(`key is not ${COMMIT_KEY_BYTES} bytes`)
  }
  return {
    tree: fields.cid('tree', dagPb.code),
    meta: fields.cid('meta', dagCbor.code),
    rootMode: fields.integer('mode', MODE_MASK),
    rootMtimeNs: fields.int64('mtime'),
    parents: fields
      .list('parents', MAX_PARENTS)
      .map((parent) => fields.asCid(parent, 'a parent', dagCbor.code)),
    sequence: fields.integer('sequence', Number.MAX_SAFE_INTEGER),
    key,
  }
}
