import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  type EngineName,
  type Mount,
  makeTempDir,
  removeTempDir,
  runOk,
  tempDir,
  withMount,
} from '../support/index.ts'
import { servedKeeper } from '../support/served-keeper.ts'
import type { Place, WayIn } from './contract.ts'
import type { Exemptions } from './exempt.ts'
import type { Disguise } from './oracle.ts'
import type { Pause } from './rows.ts'

const rowsIn = (mount: Mount) => join(mount.mountpoint, 'rows')

/** Nothing, as for the keeper. */
const NONE: Exemptions = { rows: {} }

/** Others than the one who mounted are part of the table; only the keeper lets them in. */
function argumentsOf(engine: EngineName): string[] {
  return engine === 'native' ? ['--allow-other'] : []
}

/** Does what rows pause for. */
async function act(mount: Mount, what: Pause): Promise<void> {
  if (what === 'commit') await mount.commit()
  else if (what === 'commit-all') await mount.commitAll()
  else await mount.killDaemon()
}

function placeIn(
  mount: Mount,
  settle: (mount: Mount) => Promise<unknown> = async () => undefined,
): Place {
  return {
    root: rowsIn(mount),
    settle: async () => {
      await settle(mount)
      return rowsIn(mount)
    },
    onPause: (what) => act(mount, what),
  }
}

/** Files that were made a moment ago and never settled, with passthrough where it is granted. */
export function fresh(engine: EngineName, exempt: Exemptions = NONE): WayIn {
  return {
    name: 'fresh',
    exempt,
    open: async (t) => placeIn(await withMount(t, { engine, args: argumentsOf(engine) })),
  }
}

/** The same without passthrough, as an ordinary user has it: all reads and writes are served. */
export const served: WayIn = {
  name: 'served',
  open: async (t) => {
    const env = { MODELCACHE_KEEPER: servedKeeper(tempDir(t)) }
    const args = argumentsOf('native')
    return placeIn(await withMount(t, { engine: 'native', args, env }))
  },
}

/** Files that are settled: clean, with a row and an object, their attributes cached. */
export function committed(engine: EngineName, exempt: Exemptions = NONE): WayIn {
  return {
    name: 'committed',
    preparedOnly: true,
    exempt,
    open: async (t) => {
      const mount = await withMount(t, { engine, args: argumentsOf(engine) })
      return placeIn(mount, () => mount.commitAll())
    },
  }
}

/** Placeholders: another mount, with an empty store, of the root that was committed in the first. */
export function remote(engine: EngineName, exempt: Exemptions = NONE): WayIn {
  return {
    name: 'remote',
    preparedOnly: true,
    exempt,
    open: (t) => fromElsewhere(t, engine),
  }
}

/** The same where there are no placeholders: everything was fetched before it was mounted. */
export function fetched(engine: EngineName, exempt: Exemptions = NONE): WayIn {
  return { ...remote(engine, exempt), name: 'fetched' }
}

async function fromElsewhere(t: TestContext, engine: EngineName): Promise<Place> {
  const origin = await withMount(t, { engine })
  let mount = origin
  const settle = async () => {
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const args = ['--from', root, '--peer', address, ...argumentsOf(engine)]
    mount = await withMount(t, { engine, args })
    return rowsIn(mount)
  }
  return { root: rowsIn(origin), settle, onPause: (what) => act(mount, what) }
}

/** A mount with --read-only; the oracle is the plain directory, bind-mounted read-only. */
export function readOnly(engine: EngineName, exempt: Exemptions = NONE): WayIn {
  return {
    name: 'read-only',
    exempt,
    oracle: boundReadOnly,
    open: async (t) =>
      placeIn(await withMount(t, { engine }), async (mount) => {
        await mount.unmount()
        await mount.mount(['--read-only'])
      }),
  }
}

/** One function, so that its oracle is known again. */
const boundReadOnly: Disguise = async (plain) => {
  const bound = makeTempDir('modelcache-bound-')
  const run = (...[command = '', ...args]: string[]) =>
    runOk(command, args, { env: { PATH: process.env.PATH ?? '' } })
  await run('mount', '--bind', plain, bound)
  const release = async () => {
    await run('umount', bound)
    await removeTempDir(bound)
  }
  await run('mount', '-o', 'remount,bind,ro', bound)
  return { root: bound, release }
}
