import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { FAULT_POINTS } from '../../src/base/index.ts'
import { has, isAlive, modelcache, tempDir, waitFor, withMount } from '../support/index.ts'
import {
  checkJournal,
  KEEPER_POINTS,
  steps,
  type Undisturbed,
  undisturbed,
  workAll,
} from './crash-points.ts'
import { FILE_SYSTEMS, type FileSystem, onPowerDisk, powerDiskMissing } from './power-disk.ts'
import { randomNumbers } from './random.ts'

const LONG = process.env.MODELCACHE_TEST_LONG === '1'
const SEED = Number(process.env.MODELCACHE_TEST_SEED ?? randomInt(2 ** 31))
const KINDS: readonly FileSystem[] = LONG ? FILE_SYSTEMS : ['ext4']
/** Cuts after an edit, and points at which the power is cut, of each file system. */
const EDITS = LONG ? 50 : 3
const ROUNDS = LONG ? 7 : 1
const POINTS = LONG ? Number.POSITIVE_INFINITY : 4

async function hasPowerDisk(t: TestContext, kind: FileSystem): Promise<boolean> {
  if (!has(t, 'fuse', 'root', 'python')) return false
  const missing = await powerDiskMissing(kind)
  if (missing !== undefined) t.skip(missing)
  return missing === undefined
}

describe('a power cut', () => {
  for (const kind of KINDS) {
    it(`after fdatasync of an edited clean file leaves the new bytes, on ${kind}`, async (t) => {
      if (!(await hasPowerDisk(t, kind))) return
      await onPowerDisk(t, kind, async (disk) => {
        const mount = await withMount(t, { engine: 'native', store: join(disk.directory, 'store') })
        mkdirSync(join(mount.mountpoint, 'models'))
        const file = join(mount.mountpoint, 'models/config.json')
        writeFileSync(file, 'as it was committed first'.repeat(1000))
        await mount.commitAll()
        for (let edit = 0; edit < EDITS; edit += 1) {
          const text = `edit ${String(edit).padStart(6, '0')}`
          const fd = openSync(file, 'r+')
          writeSync(fd, text)
          fdatasyncSync(fd)
          const after = await disk.cut()
          closeSync(fd)
          const found = await withMount(t, { engine: 'native', store: join(after, 'store') })
          assert.equal(firstBytes(join(found.mountpoint, 'models/config.json')), text)
          const { root } = await found.commitAll()
          const { address } = await found.share()
          const other = await withMount(t, { args: ['--from', root, '--peer', address] })
          assert.equal(firstBytes(join(other.mountpoint, 'models/config.json')), text)
          await other.unmount()
          const verified = await modelcache(['verify', found.mountpoint], found)
          assert.equal(verified.code, 0, verified.stdout)
          await found.unmount()
          await mount.commitAll()
        }
        await mount.unmount()
      })
    })
  }

  it(`at a fault point loses nothing that was synced, seed ${SEED}`, {
    concurrency: 2,
  }, async (t) => {
    if (!(await hasPowerDisk(t, 'ext4'))) return
    const all = await undisturbed(t)
    const random = randomNumbers(SEED)
    const points = [...Object.keys(FAULT_POINTS), ...KEEPER_POINTS]
    const order = points.map((point) => ({ point, at: random() })).toSorted((a, b) => a.at - b.at)
    const visited = new Map<string, number>()
    const cases: Promise<void>[] = []
    for (const kind of KINDS) {
      for (const { point } of order.slice(0, POINTS)) {
        for (let round = 0; round < ROUNDS; round += 1) {
          const visit = 1 + Math.floor(random() ** 2 * 6)
          const done = t.test(`${kind}, visit ${visit} of ${point}`, async (one) => {
            if (!(await hasPowerDisk(one, kind))) return
            const hit =
              (await cutAt(one, kind, point, visit, all)) || (await cutAt(one, kind, point, 1, all))
            assert.ok(hit, `${point} was not visited`)
            visited.set(kind, (visited.get(kind) ?? 0) + 1)
          })
          cases.push(done)
        }
      }
    }
    await Promise.all(cases)
    t.diagnostic(`power cuts: ${JSON.stringify(Object.fromEntries(visited))}`)
  })
})

const firstBytes = (path: string) => readFileSync(path, 'utf8').slice(0, 'edit 000000'.length)

/** Stops who comes to the point, cuts the power, and looks what the disk has. */
function cutAt(
  t: TestContext,
  kind: FileSystem,
  point: string,
  visit: number,
  { args, tree }: Undisturbed,
): Promise<boolean> {
  return onPowerDisk(t, kind, async (disk) => {
    const folder = await tempDir(t)
    const marker = join(folder, 'marker')
    const journal = join(folder, 'journal')
    writeFileSync(journal, '')
    const store = join(disk.directory, 'store')
    const fault = `${point}:${visit}:stop:${marker}`
    const first = withMount(t, { engine: 'native', args, store, fault })
    const doing = first.then(async (mount) => {
      const command = (...words: string[]) => modelcache([...words, mount.mountpoint], mount)
      for (const step of [
        () => steps(mount, journal, 'work'),
        () => command('commit'),
        () => steps(mount, journal, 'tidy'),
        () => command('commit'),
        () => command('share'),
        () => command('unmount', '--timeout', '20'),
      ]) {
        if (!existsSync(marker)) await step()
      }
    })
    const reached = waitFor('the marker', () => existsSync(marker), 120_000)
    const hit = await Promise.race([reached.then(() => true), doing.then(() => existsSync(marker))])
    if (!hit) {
      reached.catch(() => undefined)
      return false
    }
    const victim = Number(readFileSync(marker, 'utf8'))
    await waitFor(`process ${victim} to stand still`, () => state(victim) === 'T')
    const noted = readFileSync(journal, 'utf8')
    const after = await disk.cut()
    // What was begun until the cut may show; what was synced before it must.
    const later = readFileSync(journal, 'utf8').slice(noted.length)
    const begun = later
      .split('\n')
      .filter((line) => line.startsWith('["begin"') && line.endsWith(']'))
    // Both are killed, so that nothing waits for the one that stands still.
    const others = familyOf(victim)
    for (const pid of [victim, ...others]) killed(pid)
    await waitFor('both to be dead', () => ![victim, ...others].some(isAlive))
    await doing

    const found = await withMount(t, { engine: 'native', args, store: join(after, 'store') })
    checkJournal(found.mountpoint, [noted, ...begun].join('\n'), 'durable')
    await workAll(found, join(folder, 'journal-2'))
    assert.equal((await found.commitAll()).tree, tree, 'the tree of an undisturbed run')
    const verified = await modelcache(['verify', found.mountpoint], found)
    assert.equal(verified.code, 0, verified.stdout)
    await found.unmount()
    return true
  })
}

/** The letter of /proc: `T` stands still. */
function state(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? ''
}

/** Keeper and daemon: a parent of ours, and children. */
function familyOf(pid: number): number[] {
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').map(Number)
  const command = readFileSync(`/proc/${parent}/cmdline`, 'utf8')
  const keeper = command.includes('modelcache-keeper') ? [parent] : []
  return [...keeper, ...children.filter((child) => child > 0)]
}

function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
