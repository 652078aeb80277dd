import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  has,
  type Mount,
  type Running,
  readTree,
  start,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'
import { content, MIB } from './content.ts'
import { mountPair } from './pair.ts'

const PROGRAM = fileURLToPath(new URL('python/random_changes.py', import.meta.url))
const LONG = process.env.MODELCACHE_TEST_LONG === '1'
const STEPS = LONG ? 2000 : 300
/** The same in every run, so that a failure can be made again; the long run has more of them. */
const SEEDS = Array.from({ length: LONG ? 20 : 2 }, (_, index) => 7001 + index)

async function fill(directory: string): Promise<void> {
  for (const path of ['.', 'd0', 'd0/sub', 'd0/d1', 'd1', 'd1/d0', 'sub', 'sub/d1']) {
    await mkdir(join(directory, path), { recursive: true })
    for (let number = 0; number < 8; number += 1) {
      const sizeBytes = [0, 1, 5000, MIB - 1, MIB, MIB + 1, 2 * MIB + 77, 300_000][number] ?? 0
      const file = `${path}/${number}.bin`
      await writeFile(join(directory, file), content(sizeBytes, file))
    }
  }
}

function steps(seed: number, directory: string): Running {
  const env = { PATH: process.env.PATH ?? '', PYTHONDONTWRITEBYTECODE: '1' }
  const args = [PROGRAM, String(seed), String(STEPS), directory]
  return start('python3', args, { env, deadlineMs: LONG ? 1_800_000 : 120_000 })
}

/** Disturbs the mount now and then, in ways that no program may notice, until the steps end. */
async function disturb(mount: Mount, running: Running): Promise<void> {
  const marks = [0.2, 0.4, 0.6, 0.8].map((part) => Math.floor(part * STEPS))
  for (const [index, mark] of marks.entries()) {
    const reached = () => running.output().split('\n').length > mark
    const ended = () => running.child.exitCode !== null
    await waitFor(`step ${mark}`, () => reached() || ended(), 600_000)
    if (ended()) return
    if (index % 2 === 0) await mount.commit()
    else await mount.killDaemon()
  }
}

for (const seed of SEEDS) {
  test(`random changes of remote files are those of local ones (seed ${seed})`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const { second } = await mountPair(t, fill)
    const plain = join(tempDir(t), 'plain')
    await mkdir(plain, { mode: 0o755 })
    await fill(plain)

    const running = steps(seed, second.mountpoint)
    try {
      await disturb(second, running)
    } catch (error) {
      // It works inside the mount, which could not be taken away under it.
      await running.kill()
      throw error
    }
    const got = await running.finished
    const expected = await steps(seed, plain).finished
    assert.equal(expected.code, 0, expected.stderr)
    assert.deepEqual(firstDifference(expected.stdout, got.stdout), undefined)
    assert.equal(got.code, 0, got.stderr)

    const committed = await second.commitAll()
    const tree = await readTree(plain)
    assert.deepEqual(treeDifferences(tree, await readTree(second.mountpoint)), [])
    assert.equal((await second.commitAll()).tree, committed.tree)

    await t.test('and their root is that of the same files in a new mount', async (s) => {
      const other = await withMount(s)
      const env = { PATH: process.env.PATH ?? '' }
      const args = ['-a', `${plain}/.`, other.mountpoint]
      assert.equal((await start('cp', args, { env }).finished).code, 0)
      assert.equal((await other.commitAll()).tree, committed.tree)
    })
  })
}

/** The first step that went another way, with the few before it. */
function firstDifference(expected: string, got: string): object | undefined {
  const [left, right] = [expected, got].map((text) => text.split('\n'))
  const at = left?.findIndex((line, index) => line !== right?.[index]) ?? -1
  if (at < 0) return undefined
  return { before: left?.slice(Math.max(0, at - 5), at), expected: left?.[at], got: right?.[at] }
}
