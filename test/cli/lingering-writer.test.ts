import assert from 'node:assert/strict'
import { closeSync, fsyncSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type EngineName, type Mount, withMount } from '../support/index.ts'

const ENGINES: readonly EngineName[] = ['native', 'fuse-native', 'none']

/** As a program that was in the tree before the unmount: its working directory is the store's. */
function writePast(path: string, content: string): void {
  const fd = openSync(path, 'r+')
  try {
    writeSync(fd, content, 0)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** The content of a name in the newest root, opened by another mount. */
async function inRoot(t: TestContext, mount: Mount, name: string): Promise<string> {
  const { root } = await mount.commitAll()
  const { address } = await mount.share()
  const other = await withMount(t, { args: ['--from', root, '--peer', address] })
  try {
    return readFileSync(join(other.mountpoint, name), 'utf8')
  } finally {
    await other.unmount()
  }
}

describe('a program that stays in the tree past the unmount of a mount without an engine', () => {
  for (const engine of ENGINES) {
    it(`${engine}: has what it writes then in the next root, and in the one after`, async (t) => {
      const mount = await withMount(t, { engine: 'none' })
      for (const name of ['early', 'late']) {
        writeFileSync(join(mount.mountpoint, name), 'version 1')
      }
      const stored = (name: string) => join(mount.store, 'tree', name)
      await mount.commitAll()
      await mount.unmount()

      writePast(stored('early'), 'version 2')
      await mount.mount(['--engine', engine])
      assert.equal(await inRoot(t, mount, 'early'), 'version 2')
      // The engine has compared everything by now, and has seen nobody open this one.
      writePast(stored('late'), 'version 3')
      assert.equal(await inRoot(t, mount, 'late'), 'version 3')
      writePast(stored('late'), 'version 4')
      await mount.unmount()

      writePast(stored('early'), 'version 5')
      await mount.mount(['--engine', engine])
      assert.equal(await inRoot(t, mount, 'early'), 'version 5')
      assert.equal(await inRoot(t, mount, 'late'), 'version 4')
    })
  }
})
