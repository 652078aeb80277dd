export {
  type Hub,
  type PublishOptions,
  type RepoKind,
  type RequestRecord,
  startHub,
} from './hub.ts'
export { type RepoCommit, type RepoFile, readCommit } from './repository.ts'
export type { XetOffer } from './routes.ts'
export { parseRange, type TransferRules } from './transfer.ts'
export { startXetStore, type XetStore } from './xet.ts'
