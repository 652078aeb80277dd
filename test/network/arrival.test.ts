import assert from 'node:assert/strict'
import { lstat, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { getxattr } from '../../src/base/index.ts'
import { has, readTree, runOk, treeDifferences } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { factDifferences, treeFacts } from './facts.ts'
import { mountPair } from './pair.ts'
import { BIG, makeShapes } from './shapes.ts'

test('everything arrives as it was, and only what is read is fetched', async (t) => {
  if (!has(t, 'fuse')) return
  const { first, second, committed } = await mountPair(t, makeShapes)
  const fetched = async () => (await second.status()).hydrate.bytes

  await t.test('stat, readdir and readlink fetch no content', async () => {
    const expected = await treeFacts(first.mountpoint)
    assert.ok(expected.size > 10_300)
    assert.deepEqual(factDifferences(expected, await treeFacts(second.mountpoint)), [])
    assert.equal(await fetched(), 0)
  })

  await t.test('a read of 1 MiB at the end of 64 MiB fetches less than 8 MiB', async () => {
    const model = content(BIG.sizeBytes, BIG.path)
    const end = Buffer.alloc(MIB)
    const file = await open(join(second.mountpoint, BIG.path))
    try {
      await file.read(end, 0, MIB, BIG.sizeBytes - MIB)
    } finally {
      await file.close()
    }
    assert.ok(end.equals(model.subarray(-MIB)))
    const bytes = await fetched()
    assert.ok(bytes >= MIB && bytes < 8 * MIB, `${bytes} bytes`)
  })

  await t.test('a commit without a change gives the same root', async () => {
    const again = await second.commitAll()
    assert.deepEqual([again.root, again.tree], [committed.root, committed.tree])
    assert.ok((await fetched()) < 8 * MIB)
  })

  await t.test('all bytes are the same', async () => {
    const options = { ignore: (path: string) => isOneOfMany(path) }
    const expected = await readTree(first.mountpoint, options)
    assert.deepEqual(treeDifferences(expected, await readTree(second.mountpoint, options)), [])
    const names = await treeFacts(first.mountpoint)
    assert.deepEqual(factDifferences(names, await treeFacts(second.mountpoint)), [])
  })

  await t.test('a complete file cannot be told from a local one', async () => {
    for (const name of await readdir(join(first.mountpoint, 'sizes'))) {
      const [local, arrived] = [first, second].map((m) => join(m.mountpoint, 'sizes', name))
      assert.ok(local !== undefined && arrived !== undefined)
      const { nlink, blocks, size, blksize } = await lstat(arrived)
      assert.deepEqual([name, nlink], [name, 1])
      assert.equal(blksize, (await lstat(local)).blksize)
      assert.ok(blocks * 512 >= size, `${name}: ${blocks} blocks hold ${size} bytes`)
      assert.equal(getxattr(arrived, 'user.mc'), undefined)
    }
    const list = 'import os, sys; print([n for p in sys.argv[1:] for n in os.listxattr(p)])'
    const paths = ['sizes', 'sizes/chunk', 'links'].map((path) => join(second.mountpoint, path))
    const { stdout } = await runOk('python3', ['-c', list, ...paths], { env: second.env })
    assert.equal(stdout.trim(), '[]')
  })

  await t.test('what was only read is clean, and the root is the same', async () => {
    const again = await second.commitAll()
    assert.deepEqual([again.root, again.tree, again.dirty], [committed.root, committed.tree, 0])
  })

  await t.test('all of it is there when the first mount has gone', async () => {
    await first.unmount()
    await second.unmount()
    await second.mount([])
    const model = await readFile(join(second.mountpoint, BIG.path))
    assert.ok(model.equals(content(BIG.sizeBytes, BIG.path)))
    const again = await second.commitAll()
    assert.deepEqual([again.root, again.tree], [committed.root, committed.tree])
  })
})

/** All but a hundred of ten thousand small files: to fetch each one shows nothing more. */
function isOneOfMany(path: string): boolean {
  return path.startsWith('ten thousand/') && !path.endsWith('00.json')
}
