/** Publishing what this mount has committed, for other machines. */
export { ipnsNameOf } from './ipns-name.ts'
export type { RootAnswer } from './responder.ts'
export { createShare, type Share, type ShareAddress, type ShareComponents } from './share.ts'
