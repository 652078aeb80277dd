import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'

/** Multicodec `libp2p-key`. */
const LIBP2P_KEY_CODE = 0x72

/** Protobuf of libp2p's PublicKey: field 1 (type) is 1 (Ed25519), field 2 has 32 bytes. */
const ED25519_HEADER = [0x08, 0x01, 0x12, 0x20]

/**
 * The IPNS name of an Ed25519 key: `ipns://k51…`
 * (https://specs.ipfs.tech/ipns/ipns-record/#ipns-name).
 *
 * @param publicKey - the 32 bytes of the key
 */
export function ipnsNameOf(publicKey: Uint8Array): string {
  const digest = identity.digest(Uint8Array.from([...ED25519_HEADER, ...publicKey]))
  return `ipns://${CID.createV1(LIBP2P_KEY_CODE, digest).toString(base36)}`
}
