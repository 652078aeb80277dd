import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { appendFile, open, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { content } from '../network/content.ts'
import {
  type EngineName,
  FUSE_ENGINES,
  has,
  isAlive,
  type Mount,
  readTree,
  type TreeEntry,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'
import { FILES, MOMENTS, type Moment, type Stage } from './crash-moments.ts'

const PIECE_BYTES = 64 * 1024
const PARTIAL = 'partial.incomplete'

/** Who is killed: the daemon alone where the mount outlives it, and everybody. */
type Victim = 'daemon' | 'everybody'

/** What is closed before one moment: new files, a blob that gets its name, and old files changed. */
async function writeGeneration(root: string, generation: number): Promise<void> {
  const directory = join(root, `generation-${generation}`)
  mkdirSync(join(directory, 'blobs'), { recursive: true })
  for (let index = 0; index < FILES; index += 1) {
    const text = `${generation} ${index}\n`.repeat(400 + index)
    await writeFile(join(directory, `${index}.json`), text)
  }
  const blob = join(directory, 'blobs/model')
  await writeFile(`${blob}.incomplete`, content(3_000_001, `blob ${generation}`))
  await rename(`${blob}.incomplete`, blob)
  await symlink('blobs/model', join(directory, 'model.safetensors'))
  // Files that were clean: in place, appended, rewritten.
  const old = join(root, 'old')
  const file = await open(join(old, 'in place'), 'r+')
  await file.write(`generation ${generation}`, 1_000_000)
  await file.close()
  await appendFile(join(old, 'appended'), `generation ${generation}\n`)
  await writeFile(join(old, 'rewritten'), `generation ${generation}\n`.repeat(1000))
}

async function writeFirst(root: string): Promise<void> {
  mkdirSync(join(root, 'old'))
  await writeFile(join(root, 'old/in place'), content(2_000_000, 'in place'))
  await writeFile(join(root, 'old/appended'), content(100_000, 'appended'))
  await writeFile(join(root, 'old/rewritten'), 'before\n')
}

/** The trees that the same steps give without any kill; the same for every engine and victim. */
let control: Promise<string[]> | undefined

async function treesWithoutKill(t: TestContext): Promise<string[]> {
  const mount = await withMount(t)
  await writeFirst(mount.mountpoint)
  await mount.commitAll()
  const trees: string[] = []
  for (const generation of MOMENTS.keys()) {
    await writeGeneration(mount.mountpoint, generation)
    trees.push((await mount.commitAll()).tree)
  }
  return trees
}

// Scenario 35: SIGKILL at every moment of a file's way into a root.
for (const engine of FUSE_ENGINES) {
  for (const victim of ['daemon', 'everybody'] as const) {
    if (victim === 'daemon' && !outlivesItsDaemon(engine)) continue
    test(`${engine}: SIGKILL of ${victim} at every moment of a commit`, async (t) => {
      if (!has(t, 'fuse', 'python')) return
      control ??= treesWithoutKill(t)
      const trees = await control
      const mount = await withMount(t, { engine })
      await writeFirst(mount.mountpoint)
      await mount.commitAll()
      const home = join(tempDir(t), 'home')
      for (const [generation, moment] of MOMENTS.entries()) {
        await t.test(moment.name, async () => {
          await writeGeneration(mount.mountpoint, generation)
          const expected = await readTree(mount.mountpoint, { mtimes: true, ignore: isPartial })
          await killAndReturn({ mount, home, victim, moment })
          const found = await readTree(mount.mountpoint, { mtimes: true, ignore: isPartial })
          assert.deepEqual(treeDifferences(expected, found), [], 'every closed file is there')
          await assertPartial(mount)
          assert.equal((await mount.commitAll()).tree, trees[generation], 'and in the root')
          await assertNothingTwice(mount, found)
        })
      }
    })
  }
}

function outlivesItsDaemon(engine: EngineName): boolean {
  return engine === 'native'
}

function isPartial(path: string): boolean {
  return path === PARTIAL
}

async function killAndReturn(parts: {
  mount: Mount
  home: string
  victim: Victim
  moment: Moment
}): Promise<void> {
  const { mount, home, victim, moment } = parts
  const { pid, keeperPid, restarts } = await mount.status()
  const keeper = keeperPid > 0 && keeperPid !== pid ? keeperPid : undefined
  const stage: Stage = { mount, store: mount.store, victims: { daemon: pid, keeper }, home }
  const doomed = victim === 'daemon' || keeper === undefined ? [pid] : [keeper, pid]
  await moment.killAt(stage, () => {
    for (const one of doomed) process.kill(one, 'SIGKILL')
  })
  await waitFor('them to die', () => doomed.every((one) => !isAlive(one)))
  if (victim === 'everybody') {
    await mount.mount()
  } else {
    await waitFor('another daemon', async () => {
      const now = await mount.status()
      return now.restarts > restarts && now.pid > 0
    })
  }
}

/** What a write returned for is in the file, though it was never closed. */
async function assertPartial(mount: Mount): Promise<void> {
  const bytes = await readFile(join(mount.mountpoint, PARTIAL))
  assert.ok(bytes.length >= 24 * PIECE_BYTES, `${bytes.length} bytes are left`)
  for (let start = 0; start + PIECE_BYTES <= bytes.length; start += PIECE_BYTES) {
    const number = BigInt(start / PIECE_BYTES)
    assert.equal(bytes.readBigUInt64LE(start), number)
    assert.equal(bytes.readBigUInt64LE(start + PIECE_BYTES - 8), number)
  }
}

/** No root is logged twice, no file has two objects, no object is of nothing, nothing is staged. */
async function assertNothingTwice(mount: Mount, tree: TreeEntry[]): Promise<void> {
  const log = join(mount.store, 'commits')
  const before = readFileSync(log, 'utf8')
  const lines = before.trimEnd().split('\n')
  const commits = lines.map((line) => JSON.parse(line) as { root: string; sequence: number })
  assert.equal(new Set(commits.map(({ root }) => root)).size, commits.length, 'a root twice')
  assert.deepEqual(
    commits.map(({ sequence }) => sequence),
    commits.map((_, index) => index + 1),
    'their numbers',
  )
  await mount.commitAll()
  assert.equal(readFileSync(log, 'utf8'), before, 'nothing is left to be committed')

  const files = tree.filter(({ type }) => type === 'file')
  const objects = join(mount.store, 'objects')
  const ofFiles = () => {
    const names = readdirSync(objects)
    return (
      names.length === files.length &&
      names.every((name) => lstatSync(join(objects, name)).nlink === 2)
    )
  }
  await waitFor(`one object for each of ${files.length} files`, ofFiles)
  assert.deepEqual(readdirSync(join(mount.store, 'staging')), [])
}
