import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { has, type Mount, withMount } from '../support/index.ts'
import { runContract, type WayIn } from './contract.ts'
import type { Pause } from './rows.ts'

const rowsIn = (mount: Mount) => join(mount.mountpoint, 'rows')

async function act(mount: Mount, what: Pause): Promise<void> {
  if (what === 'commit') await mount.commit()
  else if (what === 'commit-all') await mount.commitAll()
  else await mount.killDaemon()
}

/** Files that were made a moment ago and never settled. */
const fresh: WayIn = {
  name: 'fresh',
  preparedOnly: false,
  exceptions: {},
  async open(t: TestContext) {
    const mount = await withMount(t, { args: ['--allow-other'] })
    const settle = async () => rowsIn(mount)
    return { root: rowsIn(mount), settle, onPause: (what) => act(mount, what) }
  },
}

/** Files that are settled: clean, with a row and an object, their attributes cached. */
const committed: WayIn = {
  name: 'committed',
  preparedOnly: true,
  exceptions: {},
  async open(t: TestContext) {
    const mount = await withMount(t, { args: ['--allow-other'] })
    const settle = async () => {
      await mount.commitAll()
      return rowsIn(mount)
    }
    return { root: rowsIn(mount), settle, onPause: (what) => act(mount, what) }
  },
}

/** Placeholders: another mount, with an empty store, of the root that was committed in the first. */
const remote: WayIn = {
  name: 'remote',
  preparedOnly: true,
  exceptions: {},
  async open(t: TestContext) {
    const origin = await withMount(t)
    let mount: Mount | undefined
    const settle = async () => {
      const { root } = await origin.commitAll()
      const { address } = await origin.share()
      mount = await withMount(t, { args: ['--from', root, '--peer', address, '--allow-other'] })
      return rowsIn(mount)
    }
    const onPause = async (what: Pause) => {
      if (mount !== undefined) await act(mount, what)
    }
    return { root: rowsIn(origin), settle, onPause }
  },
}

for (const way of [fresh, committed, remote]) {
  test(`the native engine, files ${way.name}: as a plain directory`, async (t) => {
    if (has(t, 'fuse', 'python')) await runContract(t, way)
  })
}
