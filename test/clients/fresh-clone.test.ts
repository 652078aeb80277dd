import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHub } from '../hub/index.ts'
import {
  has,
  makeTempDir,
  mountpointsBelow,
  readTree,
  removeTempDir,
  repositoryRoot,
  run,
  runOk,
  treeDifferences,
} from '../support/index.ts'
import { clientEnvironment, MODELS, madeModels, online, runProgram, USUAL_SET } from './clients.ts'

/** npm's packages and the keeper's build, from nothing, on two busy cores. */
const START_DEADLINE_MS = 12 * 60_000

/**
 * npm and cargo find their caches and registries by the machine's own settings; what would change
 * the program's behaviour is taken out.
 */
function machineEnvironment(): Record<string, string> {
  const dropped = /^(CI|IPFS_|STORAGE_FORCE_LOCAL|HF_|XDG_|npm_|NODE_TEST_CONTEXT|NODE_OPTIONS)/
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !dropped.test(name)) env[name] = value
  }
  return env
}

test('a fresh clone: npm start, a download, npm stop, npm start again, and it loads offline', async (t) => {
  if (!has(t, 'fuse', 'python', 'cc')) return
  const base = makeTempDir('modelcache-clone-')
  const clone = join(base, 'clone')
  const env = machineEnvironment()
  const npm = (script: string) =>
    runOk('npm', [script], { env, cwd: clone, deadlineMs: START_DEADLINE_MS })
  t.after(async () => {
    if (mountpointsBelow(base).length > 0) {
      await run('npm', ['stop'], { env, cwd: clone })
      for (const path of mountpointsBelow(base)) await runOk('umount', ['-l', path], { env })
    }
    await removeTempDir(base)
  })
  await runOk('git', ['clone', '--quiet', repositoryRoot, clone], { env })

  const begun = performance.now()
  const welcome = await npm('start')
  t.diagnostic(`first start: ${((performance.now() - begun) / 60_000).toFixed(1)} minutes`)
  assert.match(welcome.stdout, /HF_HOME=/, 'it says how to point HF_HOME there')
  const cache = join(clone, 'model_cache')
  const hub = await startHub(await madeModels())
  t.after(() => hub.close())
  const client = clientEnvironment(join(base, 'home'), cache)
  await runProgram(USUAL_SET, 'hub_download.py', ['snapshot', MODELS.bert], {
    ...client,
    ...online(hub),
  })
  const downloaded = await readTree(cache, { mtimes: true })
  await npm('stop')
  assert.deepEqual(mountpointsBelow(base), [])

  const again = performance.now()
  await npm('start')
  t.diagnostic(`second start: ${((performance.now() - again) / 1000).toFixed(1)} seconds`)
  assert.deepEqual(treeDifferences(downloaded, await readTree(cache, { mtimes: true })), [])
  const load = (directory: string) =>
    runProgram(USUAL_SET, 'load_model.py', ['classify', directory], client)
  const model = join(await madeModels(), MODELS.bert)
  assert.deepEqual(await load(MODELS.bert), await load(model))
  await npm('stop')

  const status = await runOk('git', ['status', '--porcelain'], { env, cwd: clone })
  assert.equal(status.stdout, '', 'git sees nothing of what start and stop made')
})
