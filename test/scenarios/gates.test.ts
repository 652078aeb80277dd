import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { internetSockets } from '../clients/sockets.ts'
import { from, sharedOrigin } from '../network/pair.ts'
import { tcpRelay } from '../network/tcp-relay.ts'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  tempDir,
  waitFor,
  withMount,
} from '../support/index.ts'
import { assertClaims, assertSameFacts, type OnPause, runPhase } from './drive.ts'

// Scenario 34: upstream's gates with its own value sets, and a network that is not there.

interface GateCase {
  variable: 'IPFS_KIT_DISABLE' | 'STORAGE_FORCE_LOCAL' | 'CI'
  value: string
  open: boolean
  /** Only in the long run: test/config/gate.test.ts has them all, without a mount. */
  long?: boolean
}

/** `on` and `0` do not close the first two; whatever is not empty closes by CI. */
const TRUTHS = ['1', 'true', 'YES', 'on', '0', '']
const CASES: GateCase[] = [
  ...TRUTHS.map((value) => ({
    variable: 'IPFS_KIT_DISABLE' as const,
    value,
    open: ['on', '0', ''].includes(value),
    long: !['YES', 'on'].includes(value),
  })),
  ...TRUTHS.map((value) => ({
    variable: 'STORAGE_FORCE_LOCAL' as const,
    value,
    open: ['on', '0', ''].includes(value),
    long: !['true', '0'].includes(value),
  })),
  ...['1', 'true', 'false', '0', ''].map((value) => ({
    variable: 'CI' as const,
    value,
    open: value === '',
    long: !['false', ''].includes(value),
  })),
]

for (const gateCase of CASES) {
  const { variable, value, open, long } = gateCase
  if (long && process.env.MODELCACHE_TEST_LONG !== '1') continue
  test(`${variable}='${value}': the gate is ${open ? 'open' : 'closed'}`, async (t) => {
    if (has(t, 'fuse')) await lookAtGate(t, gateCase)
  })
}

async function lookAtGate(t: TestContext, { variable, value, open }: GateCase): Promise<void> {
  const mount = await withMount(t, { env: { [variable]: value } })
  const path = join(mount.mountpoint, 'model.bin')
  await writeFile(path, 'written and read, whatever the gate')
  const { gate, pid } = await mount.status()
  assert.equal(gate.open, open)
  assert.equal(gate.by, open ? 'default' : `${variable}=${value}`)
  assert.match((await mount.commitAll()).root, /^baf/, 'a gated mount commits as well')
  assert.deepEqual(internetSockets(pid), [], 'none is opened by itself')

  const shared = await modelcache(['share', mount.mountpoint], { env: mount.env })
  assert.equal(shared.code, open ? 0 : 5)
  if (!open) assert.ok(shared.stderr.includes(`${variable}=${value}`), shared.stderr)
  assert.equal(internetSockets(pid).length > 0, open)
  assert.equal(await readFile(path, 'utf8'), 'written and read, whatever the gate')
}

const nothing: OnPause = async () => undefined

/** Runs a scenario in a folder of the mount and compares it with a plain directory. */
async function assertWorks(t: TestContext, mount: Mount, name: string, onPause = nothing) {
  const base = tempDir(t)
  const plain = join(base, 'plain')
  const inside = join(mount.mountpoint, name)
  for (const directory of [plain, inside]) mkdirSync(directory)
  const oracle = await runPhase(name, 'run', plain, join(base, 'a'), nothing)
  const run = await runPhase(name, 'run', inside, join(base, 'b'), onPause)
  assertSameFacts(name, oracle, run)
  assertClaims(name, run)
}

for (const engine of FUSE_ENGINES) {
  test(`${engine}: without its peer from the start, everything local works`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const origin = await sharedOrigin(t, async (directory) => {
      await writeFile(join(directory, 'here.bin'), 'read before the network went')
      await writeFile(join(directory, 'remote.bin'), 'never read')
    })
    const relay = await tcpRelay(t, origin.address)
    const args = [...from(origin, relay.address), '--fetch-deadline', '1']
    const mount = await withMount(t, { engine, args })
    const read = (name: string) => readFile(join(mount.mountpoint, name), 'utf8')
    assert.equal(await read('here.bin'), 'read before the network went')
    await mount.unmount()

    relay.behave('cut')
    await mount.mount(['--fetch-deadline', '1'])
    await assertWorks(t, mount, 's09_save_pretrained')
    await assertWorks(t, mount, 's12_remove_dir')
    assert.equal(await read('here.bin'), 'read before the network went')
    await assert.rejects(read('remote.bin'), { code: 'EIO' })
    const { root } = await mount.commitAll()
    assert.notEqual(root, origin.committed.root, 'what was made is committed')

    relay.behave('pass')
    assert.equal(
      await waitFor('the peer to be asked again', () => read('remote.bin')),
      'never read',
    )
  })
}

test('native: a daemon that dies while files are written shares them when it is back', async (t) => {
  if (!has(t, 'fuse', 'python')) return
  const mount = await withMount(t, { engine: 'native' })
  const { address } = await mount.share()
  await assertWorks(t, mount, 's21_base_cache', async (what) => {
    if (what === 'kill-daemon') await mount.killDaemon()
    else await mount.commit()
  })
  const { root } = await mount.commitAll()
  assert.equal((await mount.status()).restarts, 1)
  // The address that was given away before goes on working.
  const other = await withMount(t, { args: ['--from', root, '--peer', address] })
  const looked = await runPhase(
    's21_base_cache',
    'second',
    join(other.mountpoint, 's21_base_cache'),
    join(tempDir(t), 'second'),
    nothing,
  )
  assert.deepEqual(new Map(looked.facts).get('not complete'), [])
})
