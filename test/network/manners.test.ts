import assert from 'node:assert/strict'
import { lstat, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { has, modelcache, runOk, withMount } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { from, mountPair, relayedPair, sharedOrigin } from './pair.ts'

const MODEL = content(16 * MIB, 'the model')

async function fill(directory: string): Promise<void> {
  await writeFile(join(directory, 'model.bin'), MODEL)
  await writeFile(join(directory, 'other.bin'), content(2 * MIB, 'another one'))
}

test('eight processes that read the same file at once fetch it once', async (t) => {
  if (!has(t, 'fuse')) return
  const { second, relay } = await relayedPair(t, fill, 30)
  const path = join(second.mountpoint, 'model.bin')
  const before = relay.passedBytes
  const digests = await Promise.all(
    Array.from({ length: 8 }, () => runOk('sha256sum', [path], { env: second.env })),
  )
  assert.equal(new Set(digests.map(({ stdout }) => stdout)).size, 1)
  assert.ok((await readFile(path)).equals(MODEL))
  const bytes = relay.passedBytes - before
  assert.ok(bytes < MODEL.length + MIB, `${bytes} bytes for ${MODEL.length}`)
})

test('a read-only mount fetches what is read and refuses every change', async (t) => {
  if (!has(t, 'fuse')) return
  const origin = await sharedOrigin(t, fill)
  const second = await withMount(t, { args: [...from(origin), '--read-only'] })
  const at = (name: string) => join(second.mountpoint, name)
  assert.ok((await readFile(at('model.bin'))).equals(MODEL))
  assert.deepEqual((await readdir(second.mountpoint)).sort(), ['model.bin', 'other.bin'])
  await assert.rejects(writeFile(at('new'), 'x'), { code: 'EROFS' })
  await assert.rejects(writeFile(at('other.bin'), 'x'), { code: 'EROFS' })
  await assert.rejects(rm(at('other.bin')), { code: 'EROFS' })
  assert.equal((await lstat(at('other.bin'))).size, 2 * MIB)
})

test('with the gate closed, what was fetched is there and the rest is EIO', async (t) => {
  if (!has(t, 'fuse')) return
  const { second, committed } = await mountPair(t, fill)
  await readFile(join(second.mountpoint, 'model.bin'))
  await second.unmount()
  await second.mount(['--gate', 'closed', '--fetch-deadline', '2'])
  assert.ok((await readFile(join(second.mountpoint, 'model.bin'))).equals(MODEL))
  await assert.rejects(readFile(join(second.mountpoint, 'other.bin')), { code: 'EIO' })
  const { gate, pid } = await second.status()
  assert.equal(gate.open, false)
  const descriptors = await readdir(`/proc/${pid}/fd`)
  const links = await Promise.all(descriptors.map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)))
  const sockets = links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [])
  const tables = await Promise.all(['tcp', 'tcp6', 'udp', 'udp6'].map((name) => table(pid, name)))
  const internet = sockets.filter((inode) => tables.some((text) => text.includes(` ${inode} `)))
  assert.deepEqual(internet, [], 'the daemon has no internet socket')
  assert.equal((await second.commitAll()).root, committed.root)
})

/** A descriptor may be closed between two looks. */
async function linkOf(path: string): Promise<string> {
  try {
    return await readlink(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

function table(pid: number, name: string): Promise<string> {
  return readFile(`/proc/${pid}/net/${name}`, 'utf8')
}

test('a store is opened from one root only, and again from the same one', async (t) => {
  if (!has(t, 'fuse')) return
  const origin = await sharedOrigin(t, fill)
  const second = await withMount(t, { args: from(origin) })
  await writeFile(join(second.mountpoint, 'own'), 'made here\n')
  await second.commitAll()
  await second.unmount()

  await t.test('the same one: what was done since is still there', async () => {
    await second.mount(from(origin))
    assert.equal(await readFile(join(second.mountpoint, 'own'), 'utf8'), 'made here\n')
    await second.unmount()
  })
  await t.test('another one is refused, and the store is as it was', async () => {
    await writeFile(join(origin.mount.mountpoint, 'later'), 'made later\n')
    const { root } = await origin.mount.commitAll()
    const words = [
      '--store',
      second.store,
      ...from({ ...origin, committed: { ...origin.committed, root } }),
    ]
    const run = { env: second.env, deadlineMs: 60_000 }
    const { code, stderr } = await modelcache(['mount', second.mountpoint, ...words], run)
    assert.match(stderr, /holds other content already; name another --store/)
    assert.ok(stderr.includes(root), stderr)
    assert.equal(code, 1)
    await second.mount([])
    const names = (await readdir(second.mountpoint)).sort()
    assert.deepEqual(names, ['model.bin', 'other.bin', 'own'])
    assert.ok((await readFile(join(second.mountpoint, 'model.bin'))).equals(MODEL))
  })
})
