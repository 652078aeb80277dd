import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHub } from '../hub/index.ts'
import {
  FUSE_ENGINES,
  has,
  readTree,
  tempDir,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { clientEnvironment, MODELS, madeModels, online, pinSetsOn, runProgram } from './clients.ts'

for (const engine of FUSE_ENGINES) {
  for (const set of pinSetsOn(engine)) {
    test(`${engine}, ${set}: saving over what is mapped, torch archives and memory maps behave as on a disk`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const base = tempDir(t)
      const hub = await startHub(await madeModels())
      t.after(() => hub.close())
      const env = clientEnvironment(join(base, 'home'), join(base, 'hf'), online(hub))
      const save = (out: string) =>
        runProgram<Record<string, unknown>>(set, 'save_and_map.py', [MODELS.bert, out], env)

      const plain = join(base, 'plain')
      mkdirSync(plain)
      const expected = await save(plain)
      assert.equal(expected.again, expected.state, 'the oracle itself saves what it loads')

      const mount = await withMount(t, { engine })
      const got = await save(mount.mountpoint)
      assert.deepEqual(got, expected)
      const oracle = await readTree(plain)
      assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])

      const { tree } = await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])
      assert.equal((await mount.commitAll()).tree, tree, 'nothing changed by unmount and mount')
    })
  }
}
