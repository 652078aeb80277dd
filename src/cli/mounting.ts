import { ModelcacheError, messageOf } from '../base/index.ts'
import {
  checkApart,
  defaultStore,
  faultOption,
  isWithin,
  KEEPER_THREADS,
  type KeeperConfig,
  type MountOptions,
  realPlace,
  removeServingMark,
  rootOption,
  SOURCE_PREFIX,
  servingEnvironment,
  shown,
  usageError,
} from '../config/index.ts'
import { addLocalOnlyPatterns } from '../tree/index.ts'
import type { Context } from './context.ts'
import { chooseEngine } from './engine-choice.ts'
import { askKeeper } from './keeper-socket.ts'
import { type FetchProgress, type StartedKeeper, startKeeper } from './keeper-start.ts'
import { noteMount } from './known-mounts.ts'
import { lookAtMountpoint, prepareMountpoint } from './mountpoint.ts'
import { type OwnMount, ownFuseMounts, plainMountAround, plainMountOf } from './own-mounts.ts'
import { isStale, serverOf, takeAway } from './stale-mount.ts'
import { prepareStore, realStorePlace } from './store-place.ts'
import { countText, sizeText } from './terminal.ts'

/** What mounting came to. */
export type Mounted =
  | { readonly kind: 'already'; readonly mount: OwnMount }
  | { readonly kind: 'mounted'; readonly mount: OwnMount; readonly keeper: StartedKeeper }

/**
 * Mounts, from validated options: looks at the machine, the mountpoint and the store, starts the
 * keeper and waits for it. What this run made is removed when it fails.
 */
export async function mountWith(asked: MountOptions, context: Context): Promise<Mounted> {
  const { terminal, signal, env } = context
  await checkPeers(asked.peers)
  const state = await lookAtMountpoint(asked.mountpoint, terminal.tell, signal)
  if (state.kind === 'ours') {
    return { kind: 'already', mount: state.mount }
  }
  const store = await realStorePlace(asked.store ?? defaultStore(state.path, env))
  checkApart(state.path, store)
  const options = await withRootOfCar(asked, state.path, store)
  await checkStoreIsFree(store, context)
  const choice = await chooseEngine({ ...options, mountpoint: state.path }, context)
  const mountpoint = await prepareMountpoint(state.path)
  try {
    const place = { mountpoint: mountpoint.path, store, device: '', engine: choice.engine }
    for (const line of choice.said) {
      terminal.tell(line)
    }
    if (options.allowOther) {
      terminal.tell(
        'warning: --allow-other: every user of this machine may use the mount, as far as the modes in it allow',
      )
    }
    const keeper = await startOn(options, place, context)
    await note(place, context)
    return { kind: 'mounted', mount: place, keeper }
  } catch (error) {
    await mountpoint.undo()
    throw error
  }
}

/** What `--from FILE.car` opens is the root of the file, if it can be read to its end. */
async function withRootOfCar(
  options: MountOptions,
  mountpoint: string,
  store: string,
): Promise<MountOptions> {
  if (options.car === undefined) {
    return options
  }
  const path = await realPlace(options.car)
  if (isWithin(path, mountpoint) || isWithin(path, store)) {
    throw usageError(
      `--from ${shown(options.car)}: it lies in the mount or its store; put it elsewhere`,
    )
  }
  const { CarFile } = await import('../history/index.ts')
  const car = await CarFile.open(path)
  try {
    return { ...options, car: path, from: rootOption(car.root().toString()) }
  } finally {
    await car.close()
  }
}

async function startOn(
  options: MountOptions,
  mount: OwnMount,
  context: Context,
): Promise<StartedKeeper> {
  const { terminal, signal, installed } = context
  const { engine, store } = mount
  const prepared = await prepareStore(store, options.from !== undefined, terminal.tell)
  try {
    await addLocalOnlyPatterns(prepared.paths.localOnly, options.localOnly)
    return await startKeeper({
      command: engine === 'native' ? [installed.keeper] : installed.serveCommand,
      config: keeperConfig(options, mount, context),
      log: engine === 'native' ? prepared.paths.keeperLog : prepared.paths.daemonLog,
      signal,
      onProgress: (progress) => terminal.tell(progressText(progress)),
    })
  } catch (error) {
    const better = await explained(error, store)
    await prepared.undo()
    throw better
  }
}

/** Makes known what serves now. The mount is there, noted or not: what fails here is a warning. */
async function note(mount: OwnMount, { env, terminal }: Context): Promise<void> {
  try {
    if (mount.engine === 'native') {
      // A machine that stopped leaves the mark of what served before; the keeper has the store now.
      await removeServingMark(mount.store)
    }
    if (mount.engine === 'none') {
      await noteMount(mount, env)
    }
  } catch (error) {
    terminal.tell(`warning: \`modelcache status\` may be wrong: ${messageOf(error)}`)
  }
}

function progressText({ files, ofFiles, bytes, ofBytes }: FetchProgress): string {
  return `fetches all of it first: ${files} of ${countText(ofFiles, 'file')}, ${sizeText(bytes)} of ${sizeText(ofBytes)}`
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

/** Two mounts never share a store. The store's lock decides; this finds whom to name. */
async function checkStoreIsFree(store: string, context: Context): Promise<void> {
  const { signal, terminal } = context
  const mounts = await ownFuseMounts()
  const around =
    mounts.find(({ mountpoint }) => isWithin(store, mountpoint)) ?? (await plainMountAround(store))
  if (around !== undefined) {
    throw usageError(
      `--store ${shown(store)}: it lies in the mount on ${around.mountpoint}; give a store elsewhere`,
    )
  }
  const keeper = await askKeeper(store, signal)
  if (keeper !== undefined) {
    throw lockedError(store, `mounted on ${keeper.mountpoint} by process ${keeper.pid}`)
  }
  const other = mounts.find((mount) => mount.store === store) ?? (await plainMountOf(store))
  if (other === undefined) {
    return
  }
  if (!(await isStale(other, signal))) {
    const server = serverOf(other)
    throw lockedError(store, `mounted on ${other.mountpoint}, whose ${server} does not answer`)
  }
  terminal.tell(`${other.mountpoint}: its ${serverOf(other)} is dead; takes the stale mount away`)
  await takeAway(other, signal)
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
  { engine, mountpoint, store }: OwnMount,
  { installed, env }: Context,
): KeeperConfig {
  const fault = faultOption(env)
  return {
    engine,
    mountpoint,
    store,
    readOnly: options.readOnly,
    allowOther: options.allowOther,
    fsName: `${SOURCE_PREFIX}${store}`,
    passthrough: 'auto',
    fetchDeadlineMs: options.fetchDeadlineMs,
    threads: KEEPER_THREADS,
    ...(fault.keeper === undefined ? {} : { fault: fault.keeper }),
    daemon: { command: installed.daemonCommand, env: servingEnvironment(env, store) },
    daemonConfig: {
      gate: options.gate,
      ...(options.from === undefined ? {} : { from: options.from }),
      ...(options.car === undefined ? {} : { car: options.car }),
      ...(options.keepRoots === undefined ? {} : { keepRoots: options.keepRoots }),
      peers: options.peers,
      readOnly: options.readOnly,
      fetchDeadlineMs: options.fetchDeadlineMs,
      version: installed.version,
      ...(fault.daemon === undefined ? {} : { fault: fault.daemon }),
    },
  }
}
