/** No-copy leaves and a folder of nodes as one Blockstore. */
export { MAX_BLOCK_BYTES } from './block-file.ts'
export * from './cache-blockstore.ts'
export * from './node-store.ts'
export { identityBytes, matchesCid, sha256Of, verifiableHash } from './verify.ts'
