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
import { controlClient } from '../../src/daemon/index.ts'
import {
  has,
  type Mount,
  readTree,
  repositoryRoot,
  scrubbedEnvironment,
  start,
  type TreeEntry,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'
import { openOfflineRoots } from './offline-roots.ts'

const MIB = 1024 * 1024
const WRITER = join(repositoryRoot, 'test/clients/python/closed_files.py')
const REPORT = /^(begin|done) (\S+)(?: ([0-9a-f]{64}))?$/gm

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

test('SIGKILL at any moment: what was closed before is there, and is committed after', async (t) => {
  if (!has(t, 'fuse', 'python')) return
  const home = join(tempDir(t), 'home')
  const mount = await withMount(t)
  const expected = new Map<string, string | undefined>()
  const rounds = process.env.MODELCACHE_TEST_LONG === '1' ? 40 : 4
  for (let round = 0; round < rounds; round += 1) {
    const writer = start('python3', [WRITER, mount.mountpoint, String(round)], {
      env: scrubbedEnvironment(home),
    })
    const control = controlClient(mount.store)
    for (let step = 0; step < 40 + 17 * round; step += 1) {
      await waitFor('files to be closed', () => writer.output().split('done').length > step)
      // Files are settled and committed meanwhile, so that some are clean when they are changed.
      if (step % 9 === round % 9) await control.call('commit', {})
    }
    await mount.crash()
    await writer.kill()
    for (const [, word, name = '', digest] of writer.output().matchAll(REPORT)) {
      // A file that was begun and not closed may be old, new or partly written.
      expected.set(name, word === 'done' ? digest : undefined)
    }
    await mount.mount()
    assertClosedFiles(round, expected, await readTree(mount.mountpoint))
  }
  const { tree } = await mount.commitAll()
  const found = await readTree(mount.mountpoint)
  await mount.unmount()
  const offline = await openOfflineRoots(mount.store)
  t.after(() => offline.close())
  const names = new Map((await offline.walk(tree)).map(({ path, cid }) => [path, cid]))
  for (const { path, sha256 } of found.filter(({ path }) => !path.endsWith('.tmp'))) {
    const { sha256: committed } = await offline.digestsOf(names.get(path) ?? '')
    assert.equal(committed, sha256, `${path} in the root after the crashes`)
  }
})

function assertClosedFiles(
  round: number,
  expected: Map<string, string | undefined>,
  found: TreeEntry[],
): void {
  const digests = new Map(found.map(({ path, sha256 }) => [path, sha256]))
  for (const [name, digest] of expected) {
    if (digest !== undefined) assert.equal(digests.get(name), digest, `round ${round}: ${name}`)
  }
}
