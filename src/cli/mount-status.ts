import { withDeadline } from '../base/index.ts'
import {
  type EngineName,
  LOST_WITH,
  STATUS_ANSWER_MS,
  STATUS_PATIENCE_MS,
} from '../config/index.ts'
import type { Context } from './context.ts'
import { callDaemon, isDaemonAway } from './daemon-call.ts'
import { FOREIGN } from './foreign-store.ts'
import { askKeeper, type KeeperFacts } from './keeper-socket.ts'
import type { OwnMount } from './own-mounts.ts'
import { pulseOf, serverOf } from './stale-mount.ts'

/** `status --json`, one object a mount; docs/configuration.md lists the fields. */
export interface MountStatus {
  readonly mountpoint: string
  readonly store: string
  /** Of the daemon; 0 while it is away. */
  readonly pid: number
  /** Of the process that holds the mount: the keeper, or the daemon where the engine is in it. */
  readonly keeperPid: number
  readonly restarts: number
  readonly state: string
  readonly engine: EngineName
  /** What the native engine could do and this one cannot. */
  readonly lost: readonly string[]
  readonly readOnly: boolean
  /** Of the daemon. */
  readonly version: string
  readonly passthrough: { readonly active: boolean; readonly reason: string }
  readonly gate: { readonly open: boolean; readonly by: string }
  readonly root: { readonly cid: string; readonly committedAt: string }
  readonly dirty: {
    readonly files: number
    readonly bytes: number
    readonly oldestSeconds: number
    readonly open: number
  }
  /** Names that the last commit left out as they are, and why. */
  readonly withheld: readonly { readonly path: string; readonly reason: string }[]
  readonly tree: {
    readonly files: number
    readonly bytes: number
    readonly placeholders: number
    readonly missingBytes: number
    /** Directories whose entries are still remote, and so are in none of the counts above. */
    readonly unlistedDirectories: number
  }
  readonly store_usage: {
    readonly treeBytes: number
    readonly blockBytes: number
    readonly indexBytes: number
  }
  /** When files and bytes were counted; empty before the first count. */
  readonly countedAt: string
  /** Bytes that were hashed since the mount. */
  readonly settle: { readonly hashedBytes: number }
  readonly hydrate: { readonly active: number; readonly bytes: number; readonly errors: number }
  readonly served: {
    readonly reads: number
    readonly readBytes: number
    readonly writes: number
    readonly passthroughOpens: number
    readonly openFiles: number
  }
  readonly network: {
    readonly listening: readonly string[]
    readonly peers: number
    readonly receivedBytes: number
    readonly heliaStarted: boolean
    readonly shares: readonly unknown[]
    readonly follows: readonly unknown[]
    readonly remotes: readonly unknown[]
  }
  /** What only the daemon knows is missing, and why, while it is away. */
  readonly partial?: string
}

/** The status of one mount: the daemon's, the keeper's while that is away, `stale` or `unknown`. */
export async function statusOf(
  mount: OwnMount,
  context: Pick<Context, 'signal'>,
): Promise<MountStatus> {
  const { signal } = context
  const pulse = await pulseOf(mount, signal)
  if (pulse === 'foreign') {
    return bareStatus(mount, undefined, 'unknown', FOREIGN)
  }
  const keeper = pulse === 'alive' ? await askKeeper(mount.store, signal) : undefined
  if (keeper === undefined) {
    const state = pulse === 'dead' ? 'stale' : 'unknown'
    return bareStatus(mount, undefined, state, `its ${serverOf(mount)} does not answer`)
  }
  const answered = withDeadline(signal, STATUS_ANSWER_MS)
  try {
    const options = { signal: answered, patienceMs: STATUS_PATIENCE_MS }
    return (await callDaemon(mount.store, 'status', {}, options)) as MountStatus
  } catch (error) {
    if (isDaemonAway(error) || (answered.aborted && !signal.aborted)) {
      return bareStatus(mount, keeper, keeper.state, troubleOf(mount, keeper))
    }
    throw error
  }
}

/** What serves on without a daemon, and what to do about it. */
function troubleOf({ store }: OwnMount, { daemon }: KeeperFacts): string {
  return daemon?.trouble
    ? `its daemon cannot be started: ${daemon.trouble}. What is local is served, what is remote is ` +
        `not, and nothing is committed; it is tried again every few seconds, and ` +
        `${store}/log/daemon.log says more`
    : 'its daemon does not answer'
}

function bareStatus(
  mount: OwnMount,
  keeper: KeeperFacts | undefined,
  state: string,
  partial: string,
): MountStatus {
  const count = (name: string) => {
    const value = keeper?.stats[name]
    return typeof value === 'number' ? value : 0
  }
  return {
    mountpoint: mount.mountpoint,
    store: mount.store,
    pid: keeper?.daemonPid ?? 0,
    keeperPid: keeper?.pid ?? 0,
    restarts: keeper?.restarts ?? 0,
    state,
    engine: mount.engine,
    lost: LOST_WITH[mount.engine],
    readOnly: keeper?.readOnly ?? false,
    version: '',
    passthrough: keeper?.passthrough ?? { active: false, reason: partial },
    gate: { open: false, by: partial },
    root: { cid: '', committedAt: '' },
    dirty: { files: 0, bytes: 0, oldestSeconds: 0, open: count('openForWriting') },
    withheld: [],
    tree: { files: 0, bytes: 0, placeholders: 0, missingBytes: 0, unlistedDirectories: 0 },
    store_usage: { treeBytes: 0, blockBytes: 0, indexBytes: 0 },
    countedAt: '',
    settle: { hashedBytes: 0 },
    hydrate: { active: 0, bytes: 0, errors: 0 },
    served: {
      reads: count('reads'),
      readBytes: count('readBytes'),
      writes: count('writes'),
      passthroughOpens: count('passthroughOpens'),
      openFiles: count('openFiles'),
    },
    network: {
      listening: [],
      peers: 0,
      receivedBytes: 0,
      heliaStarted: false,
      shares: [],
      follows: [],
      remotes: [],
    },
    partial,
  }
}
