import { ENGINE_WISHES, type EngineWish } from './engine-name.ts'
import { decideGate, GATE_MODES, type Gate, requireOpenGate } from './gate.ts'
import { FETCH_DEADLINE_S, MAX_FETCH_DEADLINE_S, MAX_KEEP_ROOTS, MAX_PEERS } from './limits.ts'
import { localOnlyOption } from './local-only-option.ts'
import { mountpointOption, storeOption } from './place-options.ts'
import type { Environment } from './process-environment.ts'
import { fromOption } from './root-option.ts'
import { oneOf, seconds, shown, usageError, wholeNumber } from './usage.ts'

/** What `mount` understood, before it looked at the machine. */
export interface MountOptions {
  /** Absolute; links not followed yet. */
  readonly mountpoint: string
  /** Absolute; absent means the default store of the mountpoint. */
  readonly store?: string
  /** Which engine; what this machine can is decided later. */
  readonly engine: EngineWish
  /** CID of a root. */
  readonly from?: string
  /** Absolute path of the CAR file to open. */
  readonly car?: string
  /** How many of the newest roots are kept, to be kept with the store. */
  readonly keepRoots?: number
  readonly peers: readonly string[]
  readonly readOnly: boolean
  readonly allowOther: boolean
  /** `.gitignore` lines: names that stay on this machine, to be kept with the store. */
  readonly localOnly: readonly string[]
  readonly foreground: boolean
  /** Milliseconds after which a read of remote bytes fails with EIO. */
  readonly fetchDeadlineMs: number
  readonly gate: Gate
}

/** The words of `mount` as the command line has them. */
export interface RawMountOptions {
  store?: string
  engine?: string
  from?: string
  peer?: string[]
  readOnly?: boolean
  allowOther?: boolean
  localOnly?: string[]
  keepRoots?: string
  gate?: string
  fetchDeadline?: string
  foreground?: boolean
}

/** Where `mount` and `run` mount when no directory is named. */
export const DEFAULT_MOUNTPOINT = './model_cache'

/** Validates the words of `mount`; throws usage errors (exit code 2), or the closed gate (5). */
export function mountOptions(
  directory: string,
  raw: RawMountOptions,
  cwd: string,
  env: Environment,
): MountOptions {
  const engine = oneOf('--engine', raw.engine ?? 'auto', ENGINE_WISHES)
  const gate = decideGate(oneOf('--gate', raw.gate ?? 'auto', GATE_MODES), env)
  const fetchDeadline = seconds(
    '--fetch-deadline',
    raw.fetchDeadline ?? String(FETCH_DEADLINE_S),
    1,
    MAX_FETCH_DEADLINE_S,
  )
  const peers = raw.peer ?? []
  if (peers.length > MAX_PEERS) {
    throw usageError(`--peer: ${peers.length} peers; give at most ${MAX_PEERS}`)
  }
  const empty = peers.find((peer) => peer.trim() === '')
  if (empty !== undefined) {
    throw usageError(`--peer ${shown(empty)}: give the address that \`modelcache share\` prints`)
  }
  const mountpoint = mountpointOption(directory, cwd)
  if (peers.length > 0) {
    requireOpenGate(gate, '--peer')
  }
  return {
    mountpoint,
    engine,
    ...(raw.store === undefined ? {} : { store: storeOption(raw.store, cwd) }),
    ...(raw.from === undefined ? {} : fromOption(raw.from, cwd)),
    ...(raw.keepRoots === undefined
      ? {}
      : { keepRoots: wholeNumber('--keep-roots', raw.keepRoots, 1, MAX_KEEP_ROOTS) }),
    peers: [...new Set(peers)],
    readOnly: raw.readOnly ?? false,
    allowOther: raw.allowOther ?? false,
    localOnly: localOnlyOption(raw.localOnly ?? []),
    foreground: raw.foreground ?? false,
    fetchDeadlineMs: fetchDeadline * 1000,
    gate,
  }
}
