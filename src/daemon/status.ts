import type { Clock } from '../base/index.ts'
import { type DaemonConfig, LOST_WITH } from '../config/index.ts'
import type { Hydrator } from '../hydrate/index.ts'
import type { Network } from '../ipfs/index.ts'
import type { Engine, EngineStats, Hello } from '../mount/index.ts'
import type { Share } from '../share/index.ts'
import type { CommitLog, Committer, Settler } from '../writeback/index.ts'
import type { Census, CensusTaker } from './census.ts'

/** Where a mount is in its life. */
export type MountState = 'starting' | 'serving' | 'draining'

export interface StatusParts {
  hello: Hello
  config: DaemonConfig
  engine: Pick<Engine, 'stats'>
  census: CensusTaker
  committer: Pick<Committer, 'withheld'>
  settler: Pick<Settler, 'hashedBytes'>
  hydrator: Pick<Hydrator, 'stats'>
  network: Network | undefined
  share: Pick<Share, 'listening'> | undefined
  log: CommitLog
  clock: Clock
  state: () => MountState
}

/** The JSON of `status` as docs/configuration.md fixes it, and some more. */
export async function statusOf(parts: StatusParts): Promise<Record<string, unknown>> {
  const { config, hello, log, network, share } = parts
  const [served, census] = await Promise.all([parts.engine.stats(), parts.census.take()])
  const root = log.current()
  const hydrate = parts.hydrator.stats()
  const listening = share?.listening() ?? []
  return {
    mountpoint: hello.mountpoint,
    store: hello.store,
    pid: process.pid,
    keeperPid: hello.keeperPid,
    restarts: hello.restarts,
    state: parts.state(),
    engine: hello.engine,
    lost: LOST_WITH[hello.engine],
    readOnly: hello.readOnly,
    version: config.version,
    passthrough: hello.passthrough,
    gate: config.gate,
    root: { cid: root?.root.toString() ?? '', committedAt: root?.at.toISOString() ?? '' },
    dirty: dirtyOf(census, served, parts.clock),
    withheld: parts.committer.withheld,
    tree: {
      files: census?.files ?? 0,
      bytes: census?.bytes ?? 0,
      placeholders: census?.placeholders ?? 0,
      missingBytes: census?.missingBytes ?? 0,
      unlistedDirectories: census?.unlistedDirectories ?? 0,
    },
    store_usage: {
      treeBytes: census?.treeBytes ?? 0,
      blockBytes: census?.blockBytes ?? 0,
      indexBytes: census?.indexBytes ?? 0,
    },
    countedAt: census?.at.toISOString() ?? '',
    settle: { hashedBytes: parts.settler.hashedBytes },
    hydrate: { active: hydrate.active, bytes: hydrate.bytes, errors: hydrate.errors },
    served: servedOf(served),
    network: {
      listening,
      peers: network?.stats().peers ?? 0,
      receivedBytes: network?.stats().receivedBytes ?? 0,
      heliaStarted: network?.stats().heliaStarted ?? false,
      shares: listening,
      follows: [],
      remotes: [],
    },
  }
}

function dirtyOf(census: Census | undefined, served: EngineStats, clock: Clock) {
  const oldestMs = census?.oldestDirtyMs
  const ageMs = oldestMs === undefined ? 0 : clock.now().getTime() - oldestMs
  return {
    files: census?.dirtyFiles ?? 0,
    bytes: census?.dirtyBytes ?? 0,
    oldestSeconds: Math.max(0, Math.floor(ageMs / 1000)),
    open: served.openForWriting,
  }
}

function servedOf({ reads, readBytes, writes, passthroughOpens, openFiles }: EngineStats) {
  return { reads, readBytes, writes, passthroughOpens, openFiles }
}
