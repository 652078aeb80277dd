/** No-copy leaves and a folder of nodes as one Blockstore. */
export * from './cache-blockstore.ts'
export * from './node-store.ts'
export { identityBytes, matchesCid, sha256Of, verifiableHash } from './verify.ts'
