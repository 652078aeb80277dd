import assert from 'node:assert/strict'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHub } from '../hub/index.ts'
import { has, readTree, tempDir, treeDifferences, waitFor, withMount } from '../support/index.ts'
import {
  clientEnvironment,
  lastJson,
  MODELS,
  madeModels,
  online,
  PIN_SETS,
  runProgram,
  startProgram,
  USUAL_SET,
} from './clients.ts'

for (const set of PIN_SETS) {
  test(`${set}: SIGKILL of the daemon during a download is not seen`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const base = tempDir(t)
    const hub = await startHub(await madeModels())
    t.after(() => hub.close())
    const args = ['snapshot', MODELS.gpt2]
    const plain = clientEnvironment(join(base, 'home'), join(base, 'plain'), online(hub))
    await runProgram(set, 'hub_download.py', args, plain)

    const mount = await withMount(t)
    hub.forget()
    hub.rules.bytesPerSecond = 4_000_000
    const env = clientEnvironment(join(base, 'home'), mount.mountpoint, online(hub))
    const program = await startProgram(set, 'hub_download.py', args, env)
    for (const fraction of [2_000_000, 7_000_000]) {
      await waitFor('the download to go on', () => hub.bytesServed() > fraction)
      await mount.killDaemon()
    }
    await lastJson(program, 'hub_download.py')
    const oracle = await readTree(join(base, 'plain'))
    assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])
    assert.equal((await mount.status()).restarts, 2)
    await mount.commitAll()
  })
}

test('SIGKILL of the daemon during a load of local files is not seen', async (t) => {
  if (!has(t, 'fuse', 'python', 'cc')) return
  const base = tempDir(t)
  const hub = await startHub(await madeModels())
  t.after(() => hub.close())
  const mount = await withMount(t)
  const env = clientEnvironment(join(base, 'home'), mount.mountpoint, online(hub))
  await runProgram(USUAL_SET, 'hub_download.py', ['snapshot', MODELS.big], env)
  await mount.commitAll()
  const [path] = bigModel(mount.mountpoint)
  const program = await startProgram(USUAL_SET, 'read_tensors.py', [path ?? ''], env)
  await waitFor('the file to be mapped', () => program.output().includes('opened'))
  await mount.killDaemon()
  const { sha256 } = await lastJson<{ sha256: string }>(program, 'read_tensors.py')
  assert.equal(sha256, await expectedDigest(base))
})

test('SIGKILL of the daemon during a load that fetches delays it, and no more', async (t) => {
  if (!has(t, 'fuse', 'python', 'cc')) return
  const base = tempDir(t)
  const hub = await startHub(await madeModels())
  t.after(() => hub.close())
  const first = await withMount(t)
  const downloading = clientEnvironment(join(base, 'home'), first.mountpoint, online(hub))
  await runProgram(USUAL_SET, 'hub_download.py', ['snapshot', MODELS.big], downloading)
  const { root } = await first.commitAll()
  const { address } = await first.share()
  const second = await withMount(t, { args: ['--from', root, '--peer', address] })
  const [path = ''] = bigModel(second.mountpoint)
  // Asking for the size lists the directories: from here on only bytes are missing.
  statSync(path)

  // While the first mount's daemon stands still, the load waits for bytes: that is the moment.
  const peer = (await first.status()).pid
  process.kill(peer, 'SIGSTOP')
  t.after(() => resume(peer))
  const env = clientEnvironment(join(base, 'home'), second.mountpoint)
  const program = await startProgram(USUAL_SET, 'read_tensors.py', [path], env)
  await waitFor('the load to wait for bytes', async () => {
    return (await second.status()).hydrate.active > 0
  })
  await second.killDaemon()
  await waitFor('a new daemon', async () => (await second.status()).restarts === 1)
  resume(peer)
  const { sha256 } = await lastJson<{ sha256: string }>(program, 'read_tensors.py')
  assert.equal(sha256, await expectedDigest(base))
  assert.equal((await second.status()).dirty.files, 0)
})

function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function bigModel(cache: string): string[] {
  const snapshots = join(cache, 'hub/models--tiny--big/snapshots')
  return readdirSync(snapshots).map((name) => join(snapshots, name, 'model.safetensors'))
}

async function expectedDigest(base: string): Promise<string> {
  const path = join(await madeModels(), MODELS.big, 'model.safetensors')
  const env = clientEnvironment(join(base, 'home'), join(base, 'none'))
  return (await runProgram<{ sha256: string }>(USUAL_SET, 'read_tensors.py', [path], env)).sha256
}
