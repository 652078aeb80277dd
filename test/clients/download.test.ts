import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { type Hub, startHub } from '../hub/index.ts'
import {
  FUSE_ENGINES,
  has,
  makeTempDir,
  type PinSet,
  readTree,
  removeTempDir,
  type TreeEntry,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import {
  clientEnvironment,
  lastJson,
  MODELS,
  madeModels,
  online,
  PIN_SETS,
  pinSetsOn,
  runProgram,
  startProgram,
} from './clients.ts'

/** A file of gpt2, a name that it has not got, and its weights: 13 MB in one file. */
const GPT2_FILES = ['config.json', 'none.json', 'model.safetensors', 'tokenizer.json']
const LOADS = [MODELS.bert]

interface Oracle {
  tree: TreeEntry[]
  logits: string[]
}

let hub: Hub
let scratch: string

before(async () => {
  scratch = makeTempDir()
  hub = await startHub(await madeModels())
})
after(async () => {
  await hub.close()
  await removeTempDir(scratch)
})

/** The same downloads and loads on a plain directory, once for each set of pins. */
const oracles = new Map<PinSet, Promise<Oracle>>()
function oracleOf(set: PinSet): Promise<Oracle> {
  const known = oracles.get(set) ?? makeOracle(set)
  oracles.set(set, known)
  return known
}

async function makeOracle(set: PinSet): Promise<Oracle> {
  const home = join(scratch, set)
  const cache = join(home, 'hf')
  await downloadAll(set, home, cache)
  const tree = await readTree(cache)
  return { tree, logits: await load(set, home, cache) }
}

async function downloadAll(set: PinSet, home: string, cache: string): Promise<void> {
  const env = clientEnvironment(home, cache, online(hub))
  await runProgram(set, 'hub_download.py', ['snapshot', MODELS.bert], env)
  await runProgram(set, 'hub_download.py', ['file', MODELS.gpt2, ...GPT2_FILES], env)
}

async function load(set: PinSet, home: string, cache: string): Promise<string[]> {
  const env = clientEnvironment(home, cache)
  const args = ['classify', ...LOADS]
  return (await runProgram<{ logits: string[] }>(set, 'load_model.py', args, env)).logits
}

function assertSameTree(what: string, expected: TreeEntry[], got: TreeEntry[]): void {
  assert.deepEqual(treeDifferences(expected, got), [], what)
}

for (const engine of FUSE_ENGINES) {
  for (const set of PIN_SETS) {
    test(`${engine}, ${set}: what is downloaded through the mount equals a plain directory, stays and loads`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const oracle = await oracleOf(set)
      const mount = await withMount(t, { engine })
      await downloadAll(set, mountHome(t), mount.mountpoint)
      assertSameTree('after the download', oracle.tree, await readTree(mount.mountpoint))
      assert.deepEqual(await load(set, mountHome(t), mount.mountpoint), oracle.logits)

      const before = await readTree(mount.mountpoint, { mtimes: true })
      await mount.unmount()
      await mount.mount()
      const after = await readTree(mount.mountpoint, { mtimes: true })
      assertSameTree('after unmount and mount', before, after)
      assert.deepEqual(await load(set, mountHome(t), mount.mountpoint), oracle.logits)
      assert.equal((await mount.status()).dirty.files, 0, 'what was loaded is still clean')
    })
  }

  for (const set of pinSetsOn(engine)) {
    test(`${engine}, ${set}: four processes download the same files at once, each file once`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const oracle = await oracleOf(set)
      const mount = await withMount(t, { engine })
      hub.forget()
      const env = clientEnvironment(mountHome(t), mount.mountpoint, online(hub))
      const args = ['file', MODELS.gpt2, ...GPT2_FILES]
      const programs = [1, 2, 3, 4].map(() => startProgram(set, 'hub_download.py', args, env))
      for (const program of programs) await lastJson(await program, 'hub_download.py')
      const weights = hub.requests.filter(
        ({ method, path }) => method === 'GET' && /^\/lfs/.test(path),
      )
      assert.equal(weights.length, 1, 'the lock lets one process download the weights')
      const expected = oracle.tree.filter(({ path }) => !path.includes('tiny--bert'))
      assertSameTree('after four downloads', expected, await readTree(mount.mountpoint))
    })

    test(`${engine}, ${set}: a connection that is cut in the middle is taken up again`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const oracle = await oracleOf(set)
      const mount = await withMount(t, { engine })
      hub.forget()
      // The library writes pieces of 10 MiB: the first one is on disk when the connection goes.
      hub.rules.cut = { afterBytes: 11_500_000, times: 1 }
      if (set === 'hub-append') {
        await assert.rejects(downloadAll(set, mountHome(t), mount.mountpoint), /IncompleteRead/)
        await downloadAll(set, mountHome(t), mount.mountpoint)
        const resumed = hub.requests.filter(({ range }) => range === `bytes=${10 * 1024 * 1024}-`)
        assert.equal(resumed.length, 1, 'what was there was not asked for again')
      } else {
        await downloadAll(set, mountHome(t), mount.mountpoint)
      }
      assert.equal(hub.rules.cut.times, 0, 'the connection was cut')
      assertSameTree('after the cut', oracle.tree, await readTree(mount.mountpoint))
    })
  }
}

/** A home of the test's own, away from the mount and from the oracle's. */
function mountHome(t: TestContext): string {
  return join(scratch, `home-${t.name.replace(/\W+/g, '-')}`)
}
