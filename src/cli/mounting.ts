import { ModelcacheError, messageOf } from '../base/index.ts'
import {
  checkApart,
  defaultStore,
  isWithin,
  KEEPER_THREADS,
  type KeeperConfig,
  type MountOptions,
  SOURCE_PREFIX,
  servingEnvironment,
  shown,
  usageError,
} from '../config/index.ts'
import type { Context } from './context.ts'
import { askKeeper } from './keeper-socket.ts'
import { type StartedKeeper, startKeeper } from './keeper-start.ts'
import { checkMachine } from './machine.ts'
import { ownMounts, readMountTable } from './mount-table.ts'
import { lookAtMountpoint, prepareMountpoint } from './mountpoint.ts'
import { isStale, unmountLazily } from './stale-mount.ts'
import { prepareStore, realStorePlace } from './store-place.ts'

/** What mounting came to. */
export type Mounted =
  | { readonly kind: 'already'; readonly mountpoint: string; readonly store: string }
  | {
      readonly kind: 'mounted'
      readonly mountpoint: string
      readonly store: string
      readonly keeper: StartedKeeper
    }

/**
 * Mounts, from validated options: looks at the machine, the mountpoint and the store, starts the
 * keeper and waits for it. What this run made is removed when it fails.
 */
export async function mountWith(options: MountOptions, context: Context): Promise<Mounted> {
  const { terminal, signal, env } = context
  await checkPeers(options.peers)
  const state = await lookAtMountpoint(options.mountpoint, terminal.tell, signal)
  if (state.kind === 'ours') {
    return { kind: 'already', mountpoint: state.path, store: state.mount.store }
  }
  const store = await realStorePlace(options.store ?? defaultStore(state.path, env))
  checkApart(state.path, store)
  await checkMachine(context.installed, env)
  await checkStoreIsFree(store, context)
  const mountpoint = await prepareMountpoint(state.path)
  try {
    const keeper = await startOn(options, mountpoint.path, store, context)
    return { kind: 'mounted', mountpoint: mountpoint.path, store, keeper }
  } catch (error) {
    await mountpoint.undo()
    throw error
  }
}

async function startOn(
  options: MountOptions,
  mountpoint: string,
  store: string,
  context: Context,
): Promise<StartedKeeper> {
  const { terminal, signal, installed } = context
  const prepared = await prepareStore(store, options.from !== undefined, terminal.tell)
  try {
    const config = keeperConfig(options, mountpoint, store, context)
    return await startKeeper(installed.keeper, config, prepared.paths.keeperLog, signal)
  } catch (error) {
    const better = await explained(error, store)
    await prepared.undo()
    throw better
  }
}

/** The addresses' form; whether somebody answers there is known when something is fetched. */
async function checkPeers(peers: readonly string[]): Promise<void> {
  if (peers.length > 0) {
    const { parsePeerAddress } = await import('../ipfs/index.ts')
    for (const peer of peers) {
      parsePeerAddress(peer)
    }
  }
}

/** Two mounts never share a store. The keeper's lock decides; this finds whom to name. */
async function checkStoreIsFree(store: string, context: Context): Promise<void> {
  const { signal, terminal } = context
  const mounts = ownMounts(await readMountTable())
  const around = mounts.find(({ mountpoint }) => isWithin(store, mountpoint))
  if (around !== undefined) {
    throw usageError(
      `--store ${shown(store)}: it lies in the mount on ${around.mountpoint}; give a store elsewhere`,
    )
  }
  const keeper = await askKeeper(store, signal)
  if (keeper !== undefined) {
    throw lockedError(store, `mounted on ${keeper.mountpoint} by process ${keeper.pid}`)
  }
  const other = mounts.find((mount) => mount.store === store)
  if (other === undefined) {
    return
  }
  if (!(await isStale(other, signal))) {
    throw lockedError(store, `mounted on ${other.mountpoint}, whose keeper does not answer`)
  }
  terminal.tell(`${other.mountpoint}: its keeper is dead; takes the stale mount away`)
  await unmountLazily(other.mountpoint, signal)
}

function lockedError(store: string, by: string): ModelcacheError {
  return new ModelcacheError(
    `store ${store} is in use: ${by}; unmount that first, or give another --store`,
    { code: 'store-locked', exitCode: 1 },
  )
}

/** The keeper knows that a store is locked, and its holder knows who holds it. */
async function explained(error: unknown, store: string): Promise<unknown> {
  if (!(error instanceof ModelcacheError && error.code === 'store-locked')) {
    return error
  }
  const holder = await askKeeper(store)
  return holder === undefined
    ? lockedError(store, messageOf(error))
    : lockedError(store, `mounted on ${holder.mountpoint} by process ${holder.pid}`)
}

function keeperConfig(
  options: MountOptions,
  mountpoint: string,
  store: string,
  context: Context,
): KeeperConfig {
  const { installed, env } = context
  return {
    mountpoint,
    store,
    readOnly: options.readOnly,
    allowOther: options.allowOther,
    fsName: `${SOURCE_PREFIX}${store}`,
    passthrough: 'auto',
    fetchDeadlineMs: options.fetchDeadlineMs,
    threads: KEEPER_THREADS,
    daemon: { command: installed.daemonCommand, env: servingEnvironment(env, store) },
    daemonConfig: {
      gate: options.gate,
      ...(options.from === undefined ? {} : { from: options.from }),
      peers: options.peers,
      readOnly: options.readOnly,
      fetchDeadlineMs: options.fetchDeadlineMs,
      version: installed.version,
    },
  }
}
