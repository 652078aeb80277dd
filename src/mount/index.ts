/** The engine that serves a mount, and the keeper's client (docs/protocol.md). */
export type {
  Change,
  Engine,
  EngineHandlers,
  EngineStats,
  Hello,
  Lease,
  ListedDirectory,
  ListedEntry,
  Snapshot,
  Subject,
} from './engine.ts'
export { encodeFrame, FrameDecoder, MAX_FRAME_BYTES, type Message } from './frames.ts'
export { connectKeeper, KEEPER_FD, PROTOCOL_VERSION } from './keeper.ts'
export { printableName, type WireName } from './wire.ts'
