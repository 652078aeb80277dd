import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Hub, readCommit, startHub, startXetStore, type XetStore } from '../hub/index.ts'
import {
  FUSE_ENGINES,
  has,
  readTree,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'
import {
  clientEnvironment,
  lastJson,
  MODELS,
  madeModels,
  online,
  pinSetsOn,
  runProgram,
  startProgram,
} from './clients.ts'

/** A hub whose weights come by the Xet protocol: hf_xet writes the files, and not Python. */
async function startXetHub(t: TestContext): Promise<{ hub: Hub; xet: XetStore }> {
  const models = await madeModels()
  const hub = await startHub(models)
  t.after(() => hub.close())
  const xet = await startXetStore()
  t.after(() => xet.close())
  const { files } = await readCommit(join(models, MODELS.big), '')
  for (const { source, sizeBytes, lfsOid } of files) {
    if (lfsOid !== undefined) xet.add(source, sizeBytes, lfsOid)
  }
  hub.offerXet({ casUrl: xet.url, hashOf: xet.hashOf })
  return { hub, xet }
}

for (const engine of FUSE_ENGINES) {
  // Only the keeper's mount outlives a daemon.
  const killed = engine === 'native'
  const meanwhile = killed ? ', also while the daemon is killed' : ''
  for (const set of pinSetsOn(engine)) {
    test(`${engine}, ${set}: hf_xet writes through the mount as on a disk${meanwhile}`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const base = tempDir(t)
      const { hub, xet } = await startXetHub(t)
      const args = ['snapshot', MODELS.big]
      const plain = join(base, 'plain')
      const oracleEnv = clientEnvironment(join(base, 'a'), plain, online(hub))
      await runProgram(set, 'hub_download.py', args, oracleEnv)
      const oracle = await readTree(plain)
      assert.ok(xet.bytesServed() > 64 * 1024 * 1024, 'the bytes came from the Xet store')

      const mount = await withMount(t, { engine })
      const begun = xet.bytesServed()
      xet.bytesPerSecond = 12_000_000
      const env = clientEnvironment(join(base, 'b'), mount.mountpoint, online(hub))
      const program = await startProgram(set, 'hub_download.py', args, env)
      await waitFor('the download to go on', () => xet.bytesServed() > begun + 10_000_000)
      if (killed) await mount.killDaemon()
      await lastJson(program, 'hub_download.py')
      assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])

      await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])

      const { root } = await mount.commitAll()
      const { address } = await mount.share()
      const second = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
      const ignore = (path: string) => path.includes('.locks') || path.endsWith('.lock')
      const travelled = oracle.filter(({ path }) => !ignore(path))
      const found = await readTree(second.mountpoint, { ignore })
      assert.deepEqual(treeDifferences(travelled, found), [], 'what travels to a second mount')
    })
  }
}
