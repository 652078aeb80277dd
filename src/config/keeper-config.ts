import type { Fault } from '../base/index.ts'
import type { EngineName } from './engine-name.ts'
import type { Gate } from './gate.ts'

/**
 * What the daemon is told at its start, through the keeper (where there is one), which does not look at it. The
 * gate is decided by the command line, once.
 */
export interface DaemonConfig {
  readonly gate: Gate
  /** CID of the root to open: a commit, or a bare UnixFS directory. */
  readonly from?: string
  /** Absolute path of a CAR file that has this root. */
  readonly car?: string
  /** How many of the newest roots are kept from now on; absent: as the store says. */
  readonly keepRoots?: number
  /** Addresses as `share` prints them. They hold tokens. */
  readonly peers: readonly string[]
  readonly readOnly: boolean
  /** Milliseconds after which a fetch fails with EIO. */
  readonly fetchDeadlineMs: number
  /** `.gitignore` lines: names that stay on this machine, beside the built-in ones. */
  readonly localOnlyPatterns?: readonly string[]
  readonly version: string
  /** For tests. */
  readonly fault?: Fault
}

/**
 * What the process that serves a mount reads from its standard input: one JSON object, then the
 * end. That is the keeper, or the daemon itself where the engine is in it.
 */
export interface KeeperConfig {
  readonly engine: EngineName
  /** Absolute real path. */
  readonly mountpoint: string
  /** Absolute real path. */
  readonly store: string
  readonly readOnly: boolean
  readonly allowOther: boolean
  /** The mount's source in mountinfo: `modelcache#` and the store. */
  readonly fsName: string
  readonly passthrough: 'auto' | 'off'
  readonly fetchDeadlineMs: number
  readonly threads: number
  /** For tests. */
  readonly fault?: Fault
  readonly daemon: {
    readonly command: readonly string[]
    readonly env: Readonly<Record<string, string>>
  }
  readonly daemonConfig: DaemonConfig
}

/** The type of our mounts in /proc/self/mountinfo. */
export const MOUNT_TYPE = 'fuse.modelcache'

/** What stands before the store's path in a mount's source. */
export const SOURCE_PREFIX = 'modelcache#'
