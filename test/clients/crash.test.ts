import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { has, type Mount, readTree, treeDifferences, withMount } from '../support/index.ts'

const MIB = 1024 * 1024

/** The first state: a model as clients leave it. Nothing here is ever fsynced. */
function writeModel(root: string): void {
  const repository = join(root, 'hub/models--org--name')
  mkdirSync(join(repository, 'blobs'), { recursive: true })
  mkdirSync(join(repository, 'snapshots/c0ffee'), { recursive: true })
  mkdirSync(join(root, 'empty/directory'), { recursive: true })
  for (const [name, sizeBytes] of [
    ['empty', 0],
    ['one', 1],
    ['chunk', MIB],
    ['many', 5 * MIB + 1],
  ] as const) {
    const blob = join(repository, 'blobs', name)
    writeFileSync(`${blob}.incomplete`, Buffer.alloc(sizeBytes, name))
    renameSync(`${blob}.incomplete`, blob)
    symlinkSync(`../../blobs/${name}`, join(repository, 'snapshots/c0ffee', `${name}.bin`))
  }
  writeFileSync(join(root, 'script.sh'), '#!/bin/sh\n', { mode: 0o755 })
}

/** The second state: files that were clean are overwritten in place, grown, replaced. */
function changeModel(root: string): void {
  const blobs = join(root, 'hub/models--org--name/blobs')
  const descriptor = openSync(join(blobs, 'many'), 'r+')
  writeSync(descriptor, Buffer.from('changed in place'), 0, 16, 2 * MIB + 5)
  closeSync(descriptor)
  writeFileSync(join(blobs, 'one'), 'longer than one', { flag: 'a' })
  writeFileSync(join(root, 'new file'), 'made after the commit')
}

/** Mounts what a crash left, and looks that it is `expected`, byte for byte. */
async function mountAfterCrash(mount: Mount): Promise<void> {
  const expected = await readTree(mount.mountpoint, { mtimes: true })
  await mount.crash()
  await mount.mount()
  const found = await readTree(mount.mountpoint, { mtimes: true })
  assert.deepEqual(treeDifferences(expected, found), [], 'every closed file is there')
}

test('SIGKILL of keeper and daemon after close loses nothing and forgets nothing dirty', async (t) => {
  if (!has(t, 'fuse')) return
  const control = await withMount(t)
  writeModel(control.mountpoint)
  const first = await control.commitAll()
  changeModel(control.mountpoint)
  const second = await control.commitAll()
  assert.notEqual(first.tree, second.tree)

  const crashed = await withMount(t)
  writeModel(crashed.mountpoint)
  await mountAfterCrash(crashed)
  assert.equal((await crashed.commitAll()).tree, first.tree, 'files that were never committed')
  changeModel(crashed.mountpoint)
  await mountAfterCrash(crashed)
  assert.equal((await crashed.commitAll()).tree, second.tree, 'files that were clean before')
  await mountAfterCrash(crashed)
  assert.equal((await crashed.commitAll()).tree, second.tree, 'nothing dirty: nothing changes')
})

test('SIGKILL during a commit leaves a store that commits the same tree', async (t) => {
  if (!has(t, 'fuse')) return
  const control = await withMount(t)
  writeModel(control.mountpoint)
  const { tree } = await control.commitAll()
  const crashed = await withMount(t)
  writeModel(crashed.mountpoint)
  const committing = crashed.commit().catch((error: unknown) => error)
  await mountAfterCrash(crashed)
  await committing
  assert.equal((await crashed.commitAll()).tree, tree)
})
