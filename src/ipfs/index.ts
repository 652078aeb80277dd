/** Other machines: peers that speak HTTP, and the Helia node over our blocks. */
export type { FetchedLeaf, FileLeaf } from './http-peer.ts'
export { DEFAULT_FETCH_LIMITS, type FetchLimits } from './limits.ts'
export {
  createNetwork,
  type Network,
  type NetworkComponents,
  type NetworkStats,
} from './network.ts'
export { multiaddrOf, type PeerAddress, parsePeerAddress } from './peer-address.ts'
export {
  assertVerifiable,
  DAG_CBOR_CODE,
  DAG_PB_CODE,
  inlineBytes,
  MAX_BLOCK_BYTES,
  matchesCid,
  RAW_CODE,
} from './verify.ts'
