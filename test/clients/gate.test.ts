import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { assertSameFacts, runPhase } from '../scenarios/drive.ts'
import { has, type Mount, modelcache, tempDir, withMount } from '../support/index.ts'
import { internetSockets } from './sockets.ts'

const CLOSING = [
  { env: { CI: '1' }, by: 'CI' },
  { env: { IPFS_KIT_DISABLE: 'yes' }, by: 'IPFS_KIT_DISABLE' },
]

async function assertNoInternet(mount: Mount): Promise<void> {
  const { pid, keeperPid } = await mount.status()
  for (const process of [pid, keeperPid]) assert.deepEqual(internetSockets(process), [])
}

test('the search for sockets finds one that is there', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  assert.equal(internetSockets(process.pid).length, 1)
})

for (const { env, by } of CLOSING) {
  const named = Object.entries(env).flat().join('=')
  test(`${named}: everything local works and no internet socket exists`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const base = tempDir(t)
    const mount = await withMount(t, { env })
    const { gate, network } = await mount.status()
    assert.equal(gate.open, false)
    assert.ok(gate.by.includes(by), `the status names what closed it: ${gate.by}`)
    assert.deepEqual(network.listening, [])
    await assertNoInternet(mount)

    const nothing = async () => undefined
    for (const name of ['s02_hf_download', 's09_save_pretrained', 's12_remove_dir']) {
      const plain = tempDir(t)
      const oracle = await runPhase(name, 'run', plain, join(base, name, 'a'), nothing)
      const root = join(mount.mountpoint, name)
      const { mkdirSync } = await import('node:fs')
      mkdirSync(root)
      const run = await runPhase(name, 'run', root, join(base, name, 'b'), nothing)
      assertSameFacts(name, oracle, run)
    }
    const committed = await mount.commitAll()
    assert.match(committed.root, /^baf/)
    await assertNoInternet(mount)

    const run = { env: mount.env }
    const share = await modelcache(['share', mount.mountpoint], run)
    assert.equal(share.code, 5, 'share has no meaning behind a closed gate')
    assert.ok(share.stderr.includes(by), `and the message names the gate: ${share.stderr}`)
    await mount.unmount()

    const peer = ['--from', committed.root, '--peer', 'http://127.0.0.1:9/t/none']
    const refused = await modelcache(
      ['mount', mount.mountpoint, '--store', join(base, 'other'), ...peer],
      run,
    )
    assert.equal(refused.code, 5)
    assert.ok(refused.stderr.includes(by), refused.stderr)

    await mount.mount()
    assert.equal((await mount.commitAll()).tree, committed.tree)
    await assertNoInternet(mount)
  })
}

test('an explicit --gate open wins over CI, and still opens no socket by itself', async (t) => {
  if (!has(t, 'fuse')) return
  const mount = await withMount(t, { env: { CI: 'true' }, args: ['--gate', 'open'] })
  assert.equal((await mount.status()).gate.open, true)
  await assertNoInternet(mount)
})
