import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { utimensatNs } from '../../src/base/index.ts'
import { has, type Mount, readTree, runOk, treeDifferences, withMount } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { mountPair } from './pair.ts'

const PROGRAM = fileURLToPath(new URL('python/change.py', import.meta.url))
const TIME_NS = 1_700_000_000_000_000_001n

async function python(...args: string[]): Promise<unknown> {
  const env = { PATH: process.env.PATH ?? '', PYTHONDONTWRITEBYTECODE: '1' }
  const { stdout } = await runOk('python3', [PROGRAM, ...args], { env, deadlineMs: 60_000 })
  return JSON.parse(stdout)
}

async function operationNames(): Promise<{ free: string[]; fetching: string[] }> {
  return (await python('--names')) as { free: string[]; fetching: string[] }
}

/** A directory for each operation, so that none sees what another one did. */
async function fill(directory: string, operations: readonly string[]): Promise<void> {
  for (const operation of operations) {
    const at = join(directory, operation)
    await mkdir(join(at, 'sub', 'deep'), { recursive: true })
    await mkdir(join(at, 'sub', 'empty'))
    const sizes = {
      'model.bin': 2 * MIB + 123,
      'other.bin': MIB + 7,
      'sub/inner.bin': 100_000,
      'sub/deep/leaf': 5,
    }
    for (const [name, sizeBytes] of Object.entries(sizes)) {
      await writeFile(join(at, name), content(sizeBytes, `${operation}/${name}`))
      utimensatNs(join(at, name), TIME_NS)
    }
    for (const name of ['sub/deep', 'sub/empty', 'sub']) utimensatNs(join(at, name), TIME_NS)
  }
}

test('a file that is still remote takes every change as a local one does', async (t) => {
  if (!has(t, 'fuse', 'python')) return
  const { free, fetching } = await operationNames()
  const operations = [...free, ...fetching]
  const { second, committed } = await mountPair(t, (at) => fill(at, operations))
  const oracle = await withMount(t)
  await fill(oracle.mountpoint, operations)
  assert.equal((await oracle.commitAll()).tree, committed.tree)

  const both = async (operation: string) => {
    const at = (mount: Mount) => python(operation, join(mount.mountpoint, operation))
    assert.deepEqual(await at(second), await at(oracle))
  }
  const sameTrees = async () => {
    const [got, expected] = [await second.commitAll(), await oracle.commitAll()]
    assert.deepEqual([got.tree, got.open], [expected.tree, expected.open])
  }

  for (const operation of free) await t.test(operation.replaceAll('_', ' '), () => both(operation))
  await t.test('none of these fetched a byte', async () => {
    const { hydrate } = await second.status()
    assert.deepEqual([hydrate.bytes, hydrate.errors], [0, 0])
  })
  await t.test('a commit now gives the root of the local files', sameTrees)

  for (const name of fetching) await t.test(name.replaceAll('_', ' '), () => both(name))
  await t.test('a commit of all gives the root of the local files', sameTrees)
  for (const operation of operations) {
    await t.test(`${operation.replaceAll('_', ' ')}: left the same files`, async () => {
      const of = (mount: Mount) => readTree(join(mount.mountpoint, operation))
      assert.deepEqual(treeDifferences(await of(oracle), await of(second)), [])
    })
  }
  await t.test('and reading them all changed nothing', sameTrees)
})
