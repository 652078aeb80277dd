import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHub } from '../hub/index.ts'
import { has, tempDir, withMount } from '../support/index.ts'
import { clientEnvironment, MODELS, madeModels, online, runProgram, USUAL_SET } from './clients.ts'
import { internetSockets } from './sockets.ts'

test('behind a closed gate clients download and load, and our processes have no internet socket', async (t) => {
  if (!has(t, 'fuse', 'python', 'cc')) return
  const base = tempDir(t)
  const hub = await startHub(await madeModels())
  t.after(() => hub.close())
  const mount = await withMount(t, { env: { CI: '1' } })
  const load = async (cache: string) => {
    const env = clientEnvironment(join(base, 'home'), cache)
    await runProgram(USUAL_SET, 'hub_download.py', ['snapshot', MODELS.bert], {
      ...env,
      ...online(hub),
    })
    return runProgram(USUAL_SET, 'load_model.py', ['classify', MODELS.bert], env)
  }
  const expected = await load(join(base, 'plain'))
  assert.deepEqual(await load(mount.mountpoint), expected)
  await mount.commitAll()
  const { pid, keeperPid } = await mount.status()
  for (const process of [pid, keeperPid]) assert.deepEqual(internetSockets(process), [])
})
