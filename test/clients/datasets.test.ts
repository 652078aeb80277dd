import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FUSE_ENGINES, has, tempDir } from '../support/index.ts'
import { type Client, readElsewhere, usedAsOnDisk } from './oracle.ts'

test('datasets makes its arrow cache on a mount as on a disk, from two processes at once', async (t) => {
  if (!has(t, 'fuse', 'python', 'cc')) return
  const client: Client = {
    program: 'use_datasets.py',
    more: [tempDir(t)],
    // A lock file is named by the whole path of what it guards.
    rename: (path, directory) => path.replaceAll(directory.replaceAll('/', '_'), 'DIRECTORY'),
  }
  for (const engine of FUSE_ENGINES) {
    await t.test(engine, async (t) => {
      const { wrote, read, mount } = await usedAsOnDisk(t, engine, client)
      assert.equal(wrote.beside, true, 'both processes read the same rows')
      assert.equal(read.untouched, true, 'the cache was found, and not made again')
      assert.deepEqual(await readElsewhere(t, engine, client, mount), read)
    })
  }
})
