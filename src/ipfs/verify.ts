import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'

/** Multicodec codes; https://github.com/multiformats/multicodec/blob/master/table.csv */
export const RAW_CODE = 0x55
export const DAG_PB_CODE = 0x70
export const DAG_CBOR_CODE = 0x71
const SHA2_256_CODE = 0x12
const IDENTITY_CODE = 0x00

/** The block limit of IPFS at large (bitswap, gateways): nothing larger is asked for or served. */
export const MAX_BLOCK_BYTES = 2 * 1024 * 1024

/** A CID that carries its content stays small, as Helia bounds it. */
export const MAX_IDENTITY_BYTES = 128

const CODES: ReadonlySet<number> = new Set([RAW_CODE, DAG_PB_CODE, DAG_CBOR_CODE])

/**
 * Refuses what cannot be verified or is not ours: another hash than sha2-256 (weak hashes would
 * let a peer choose the bytes), an identity CID that is too long, another codec than raw, dag-pb
 * and dag-cbor. Code `unsupported-cid`.
 */
export function assertVerifiable(cid: CID): void {
  const { code, digest } = cid.multihash
  const hashFits =
    (code === SHA2_256_CODE && digest.length === 32) ||
    (code === IDENTITY_CODE && digest.length <= MAX_IDENTITY_BYTES)
  if (!hashFits || !CODES.has(cid.code)) {
    throw new ModelcacheError(
      `${cid}: hash 0x${code.toString(16)} or codec 0x${cid.code.toString(16)} is not accepted`,
      { code: 'unsupported-cid', errno: 'EIO' },
    )
  }
}

/** The content that an identity CID carries in itself; undefined for every other CID. */
export function inlineBytes(cid: CID): Uint8Array | undefined {
  return cid.multihash.code === IDENTITY_CODE ? cid.multihash.digest : undefined
}

/** True when the bytes are what the CID names. Throws as `assertVerifiable` does. */
export function matchesCid(cid: CID, bytes: Uint8Array): boolean {
  assertVerifiable(cid)
  const inline = inlineBytes(cid)
  if (inline !== undefined) {
    return Buffer.compare(inline, bytes) === 0
  }
  return createHash('sha256').update(bytes).digest().equals(cid.multihash.digest)
}
