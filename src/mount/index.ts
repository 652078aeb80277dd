/** What serves a mount: the keeper's client (docs/protocol.md), and engines in this process. */
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
export type { ChangeSink, LocalTree } from './local/local-tree.ts'
export { openLocalTree } from './local/open-local-tree.ts'
export { createPlainEngine, type PlainEngineOptions } from './plain-engine.ts'
export { removePlainLink } from './plain-link.ts'
export { portableEngineLack } from './portable/binding.ts'
export { createPortableEngine, type PortableEngineOptions } from './portable/portable-engine.ts'
export { printableName, type WireName } from './wire.ts'
