import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Hub, startHub } from '../hub/index.ts'
import {
  FUSE_ENGINES,
  has,
  makeTempDir,
  type PinSet,
  type Running,
  readTree,
  removeTempDir,
  type TreeEntry,
  tempDir,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'
import {
  clientEnvironment,
  lastJson,
  MODELS,
  madeModels,
  online,
  pinSetsOn,
  startProgram,
} from './clients.ts'

const REPOSITORY = 'many/files'
/** Each process downloads a snapshot with the library's own eight threads. */
const PROCESSES = 4
/** The library writes pieces of 10 MiB: a partial file of this size is in the middle. */
const PIECE_BYTES = 10 * 1024 * 1024
const INCOMPLETE = /\.incomplete$/

let hub: Hub
let scratch: string

before(async () => {
  scratch = makeTempDir()
  hub = await startHub()
  await hub.publish(REPOSITORY, await makeRepository())
})
after(async () => {
  await hub.close()
  await removeTempDir(scratch)
})

/** A model of 13 MB in one file, and more files than a process has threads, some in folders. */
async function makeRepository(): Promise<string> {
  const directory = join(scratch, 'repository')
  cpSync(join(await madeModels(), MODELS.gpt2), directory, { recursive: true })
  for (let index = 0; index < 12; index += 1) {
    const folder = join(directory, `part-${index % 3}`)
    mkdirSync(folder, { recursive: true })
    // Two of the parts are the same: one blob with two names.
    const seed = createHash('sha256')
      .update(`part ${Math.min(index, 10)}`)
      .digest()
    writeFileSync(join(folder, `${index}.bin`), Buffer.alloc(700_000, seed))
  }
  return directory
}

async function startAll(set: PinSet, home: string, cache: string): Promise<Running[]> {
  const env = clientEnvironment(home, cache, online(hub))
  const args = ['snapshot', REPOSITORY]
  const starting = Array.from({ length: PROCESSES }, () =>
    startProgram(set, 'hub_download.py', args, env),
  )
  return Promise.all(starting)
}

async function downloadBySeveral(set: PinSet, home: string, cache: string): Promise<TreeEntry[]> {
  const programs = await startAll(set, home, cache)
  for (const program of programs) await lastJson(program, 'hub_download.py')
  return readTree(cache)
}

/** Whether the process is in the middle of writing a file. */
function isInTheMiddle({ pid }: Running): boolean {
  const descriptors = join('/proc', String(pid), 'fd')
  return readdirSync(descriptors).some((name) => {
    try {
      const path = readlinkSync(join(descriptors, name))
      return INCOMPLETE.test(path) && statSync(path).size >= PIECE_BYTES
    } catch (error) {
      // Descriptors are closed and partial files renamed while we look.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw error
    }
  })
}

/**
 * Several processes download; the one that writes the large file is killed in its middle. The others
 * must end well, and so must all of them once more.
 */
async function downloadWithOneKilled(
  set: PinSet,
  home: string,
  cache: string,
): Promise<{ tree: TreeEntry[]; left: boolean }> {
  hub.rules.bytesPerSecond = 6_000_000
  const programs = await startAll(set, home, cache)
  const victim = await waitFor('a process in the middle of a file', () =>
    programs.find(isInTheMiddle),
  )
  await victim.kill()
  hub.rules.bytesPerSecond = undefined
  for (const program of programs) {
    if (program !== victim) await lastJson(program, 'hub_download.py')
  }
  const tree = await downloadBySeveral(set, home, cache)
  return {
    tree: tree.filter(({ path }) => !INCOMPLETE.test(path)),
    left: tree.some(({ path }) => INCOMPLETE.test(path)),
  }
}

/** Undisturbed, by one process after the other, on a plain directory. */
const oracles = new Map<PinSet, Promise<TreeEntry[]>>()
function oracleOf(set: PinSet): Promise<TreeEntry[]> {
  const known = oracles.get(set) ?? makeOracle(set)
  oracles.set(set, known)
  return known
}

async function makeOracle(set: PinSet): Promise<TreeEntry[]> {
  const [home, cache] = [join(scratch, `home-${set}`), join(scratch, `plain-${set}`)]
  const env = clientEnvironment(home, cache, online(hub))
  const program = await startProgram(set, 'hub_download.py', ['snapshot', REPOSITORY], env)
  await lastJson(program, 'hub_download.py')
  return readTree(cache)
}

/** Whether a killed process leaves its partial file for good on a plain directory. */
const killedOracles = new Map<PinSet, Promise<{ left: boolean }>>()
function killedOracleOf(set: PinSet): Promise<{ left: boolean }> {
  const cache = join(scratch, `killed-${set}`)
  const known = killedOracles.get(set) ?? downloadWithOneKilled(set, `${cache}-home`, cache)
  killedOracles.set(set, known)
  return known
}

for (const engine of FUSE_ENGINES) {
  for (const set of pinSetsOn(engine)) {
    test(`${engine}, ${set}: four processes of eight threads download one snapshot, each file once`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const oracle = await oracleOf(set)
      const mount = await withMount(t, { engine })
      hub.forget()
      const tree = await downloadBySeveral(set, join(tempDir(t), 'home'), mount.mountpoint)
      assert.deepEqual(treeDifferences(oracle, tree), [])
      const paths = hub.requests
        .filter(({ method, path }) => method === 'GET' && path.startsWith('/lfs'))
        .map(({ path }) => path)
      assert.ok(paths.length >= 12, `the large files were sent: ${paths.length}`)
      assert.equal(paths.length, new Set(paths).size, `a file was sent twice: ${paths}`)
      await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      assert.deepEqual(treeDifferences(oracle, await readTree(mount.mountpoint)), [])
    })

    test(`${engine}, ${set}: SIGKILL of one of four processes in the middle of a file harms nobody`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const oracle = await oracleOf(set)
      const { left } = await killedOracleOf(set)
      const mount = await withMount(t, { engine })
      const home = join(tempDir(t), 'home')
      const after = await downloadWithOneKilled(set, home, mount.mountpoint)
      assert.deepEqual(treeDifferences(oracle, after.tree), [], 'complete, and the right bytes')
      assert.equal(after.left, left, 'partial files are left where a plain directory has them')
      t.diagnostic(left ? 'the partial file stays' : 'the partial file was taken up')
      await mount.commitAll()
    })
  }
}
