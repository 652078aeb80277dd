import assert from 'node:assert/strict'
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { has, type Mount, withMount } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { factDifferences, treeFacts } from './facts.ts'
import { from, mountPair } from './pair.ts'

/** Long enough to load what fetches on a busy machine. */
const DEADLINE_S = 4
const READ = content(3 * MIB + 5, 'read on the second mount')
const PARTLY_READ = content(24 * MIB, 'partly read there')

async function fill(directory: string): Promise<void> {
  await writeFile(join(directory, 'read.bin'), READ)
  await writeFile(join(directory, 'partly.bin'), PARTLY_READ)
  await writeFile(join(directory, 'unread.bin'), content(2 * MIB, 'not read there'))
  for (const name of ['listed', 'unlisted']) {
    await mkdir(join(directory, name))
    await writeFile(join(directory, name, 'inside'), `${name}\n`)
  }
}

async function readMiB(mount: Mount, name: string, start: number): Promise<Buffer> {
  const file = await open(join(mount.mountpoint, name))
  try {
    const bytes = Buffer.alloc(MIB)
    await file.read(bytes, 0, MIB, start)
    return bytes
  } finally {
    await file.close()
  }
}

/** A third mount that knows the second one only. */
async function third(t: Parameters<typeof withMount>[0], second: Mount): Promise<Mount> {
  const committed = await second.commitAll()
  const { address } = await second.share()
  return withMount(t, {
    args: [...from({ mount: second, committed, address }), '--fetch-deadline', String(DEADLINE_S)],
  })
}

test('a mount that was opened from another serves what it has, and no more', async (t) => {
  if (!has(t, 'fuse')) return
  const { second } = await mountPair(t, fill)
  await readFile(join(second.mountpoint, 'read.bin'))
  await readMiB(second, 'partly.bin', 0)
  await readdir(join(second.mountpoint, 'listed'))
  await writeFile(join(second.mountpoint, 'own.txt'), 'made on the second mount\n')
  const last = await third(t, second)
  const at = (path: string) => join(last.mountpoint, path)

  await t.test('its own files, and those that it has fetched', async () => {
    assert.equal(await readFile(at('own.txt'), 'utf8'), 'made on the second mount\n')
    assert.ok((await readFile(at('read.bin'))).equals(READ))
  })
  await t.test('names, sizes, modes and times of the files that it lacks', async () => {
    const names = ['partly.bin', 'read.bin', 'unread.bin', 'listed', 'unlisted']
    for (const name of names) {
      const [mine, its] = [last, second].map(({ mountpoint }) => join(mountpoint, name))
      assert.ok(mine !== undefined && its !== undefined)
      const [got, expected] = await Promise.all([mine, its].map((p) => stat(p, { bigint: true })))
      assert.deepEqual(
        [got?.size, got?.mode, got?.mtimeNs],
        [expected?.size, expected?.mode, expected?.mtimeNs],
        name,
      )
    }
    assert.deepEqual(await readdir(at('listed')), ['inside'])
  })
  await t.test('what it lacks fails with EIO, and nothing else does', async () => {
    const lacking = [
      readFile(at('unread.bin')),
      readMiB(last, 'partly.bin', 20 * MIB),
      readFile(at('listed/inside')),
      readdir(at('unlisted')),
    ]
    for (const looking of lacking) looking.catch(() => undefined)
    for (const looking of lacking) await assert.rejects(looking, { code: 'EIO' })
    await writeFile(at('new'), 'writes go on')
    assert.equal((await last.commitAll()).dirty, 0)
  })
  await t.test('and comes as soon as the second mount has fetched it', async () => {
    for (const name of ['unread.bin', 'partly.bin', 'listed/inside', 'unlisted/inside']) {
      const expected = await readFile(join(second.mountpoint, name))
      assert.ok((await readFile(at(name))).equals(expected), name)
    }
  })
})

test('a chain of three mounts ends in the same tree', async (t) => {
  if (!has(t, 'fuse')) return
  const { first, second, committed } = await mountPair(t, fill)
  for (const name of ['read.bin', 'partly.bin', 'unread.bin', 'listed/inside', 'unlisted/inside']) {
    await readFile(join(second.mountpoint, name))
  }
  const last = await third(t, second)
  await first.unmount()
  const names = await treeFacts(last.mountpoint)
  assert.deepEqual(factDifferences(await treeFacts(second.mountpoint), names), [])
  assert.ok((await readFile(join(last.mountpoint, 'partly.bin'))).equals(PARTLY_READ))
  const own = await last.commitAll()
  assert.deepEqual([own.root, own.tree], [committed.root, committed.tree])
})
