import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHub } from '../hub/index.ts'
import { has, readTree, tempDir, treeDifferences, withMount } from '../support/index.ts'
import { clientEnvironment, MODELS, madeModels, online, PIN_SETS, runProgram } from './clients.ts'

for (const set of PIN_SETS) {
  test(`${set}: a second mount opens the first one's root and loads the same model`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const base = tempDir(t)
    const hub = await startHub(await madeModels())
    t.after(() => hub.close())
    const first = await withMount(t)
    const env = clientEnvironment(join(base, 'home'), first.mountpoint, online(hub))
    for (const name of [MODELS.bert, MODELS.gpt2]) {
      await runProgram(set, 'hub_download.py', ['snapshot', name], env)
    }
    const load = async (cache: string) => {
      const offline = clientEnvironment(join(base, 'home'), cache)
      const args = ['generate', MODELS.gpt2]
      return runProgram<{ logits: string[] }>(set, 'load_model.py', args, offline)
    }
    const expected = await load(first.mountpoint)
    const { root, tree } = await first.commitAll()
    const { address } = await first.share()

    const second = await withMount(t, { args: ['--from', root, '--peer', address] })
    assert.deepEqual(await load(second.mountpoint), expected)
    const { hydrate, dirty } = await second.status()
    const weights = 12_839_912
    assert.ok(hydrate.bytes >= weights, `the weights were fetched: ${hydrate.bytes}`)
    assert.ok(hydrate.bytes < weights + 2_100_000, `and not bert's as well: ${hydrate.bytes}`)
    assert.equal(hydrate.errors, 0)
    assert.equal(dirty.files, 0, 'what was only read is clean')

    const ignore = (path: string) => path.includes('.locks')
    const options = { mtimes: true, ignore }
    const differences = treeDifferences(
      await readTree(first.mountpoint, options),
      await readTree(second.mountpoint, options),
    )
    assert.deepEqual(differences, [])
    assert.equal((await second.commitAll()).tree, tree, 'both mounts have the same tree')

    // What was fetched is there without the first mount, also after unmount and mount.
    await first.unmount()
    await second.unmount()
    await second.mount([])
    assert.deepEqual(await load(second.mountpoint), expected)
  })
}
