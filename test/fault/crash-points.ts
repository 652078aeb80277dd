import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  type Finished,
  isAlive,
  type Mount,
  modelcache,
  repositoryRoot,
  run,
  runOk,
  tempDir,
  waitFor,
  withMount,
} from '../support/index.ts'

const WORK = fileURLToPath(new URL('python/work.py', import.meta.url))
const MIB = 1024 * 1024

/** The keeper's own table. */
export const KEEPER_POINTS: readonly string[] = [
  ...readFileSync(join(repositoryRoot, 'native/src/fault.rs'), 'utf8').matchAll(
    /^ {4}\("(keeper\.[\w-]+)"|^ {8}"(keeper\.[\w-]+)",$/gm,
  ),
].map((match) => match[1] ?? match[2] ?? '')

/** What every case opens: files of somebody else, of which the work edits, cuts and reads some. */
const ORIGIN_FILES: readonly (readonly [path: string, sizeBytes: number])[] = [
  ['remote/config.json', 5000],
  ['remote/large', 3 * MIB + 1],
  ['remote/truncated', 3 * MIB],
  ['remote/log', 100],
  ...Array.from({ length: 20 }, (_, index) => [`remote/many/f${index}`, 300] as const),
]

/** An origin, and the tree that the work makes of it when nothing comes in between. */
export interface Undisturbed {
  /** The words of `mount` that open it. */
  readonly args: string[]
  readonly tree: string
}

/** Makes the origin, and does the work once without a fault. */
export async function undisturbed(t: TestContext): Promise<Undisturbed> {
  const origin = await withMount(t)
  mkdirSync(join(origin.mountpoint, 'remote/many'), { recursive: true })
  for (const [path, sizeBytes] of ORIGIN_FILES) {
    writeFileSync(join(origin.mountpoint, path), Buffer.alloc(sizeBytes, `${path} `))
  }
  const { root } = await origin.commitAll()
  const { address } = await origin.share()
  const args = ['--from', root, '--peer', address]
  const mount = await withMount(t, { args })
  await workAll(mount, join(await tempDir(t), 'journal'))
  const { tree } = await mount.commitAll()
  await mount.unmount()
  return { args, tree }
}

export type Place = Pick<Mount, 'mountpoint' | 'env'>

/** The steps of programs: `work`, and after a commit `tidy`. */
export function steps(
  { mountpoint, env }: Place,
  journal: string,
  which: string,
): Promise<Finished> {
  return run('python3', [WORK, mountpoint, journal, which], { env, deadlineMs: 120_000 })
}

/** All steps, which must succeed. */
export async function workAll(mount: Place, journal: string): Promise<void> {
  for (const which of ['work', 'tidy']) {
    const { code, stderr } = await steps(mount, journal, which)
    assert.equal(code, 0, stderr)
  }
}

export interface Case {
  point: string
  visit: number
  action: 'kill' | 'kill-both' | 'stop'
}

/**
 * One crash: mounts, works, commits, shares and unmounts until the fault happens; then mounts again
 * and looks whether everything that was acknowledged is there, and whether the work comes to the
 * same tree.
 *
 * @returns whether the point was visited so often
 */
export async function crashAt(
  t: TestContext,
  { point, visit, action }: Case,
  { args, tree }: Undisturbed,
): Promise<boolean> {
  const folder = await tempDir(t)
  const marker = join(folder, 'marker')
  const journal = join(folder, 'journal')
  writeFileSync(journal, '')
  const fault = `${point}:${visit}:${action}:${marker}`
  const mount = await withMount(t, { engine: 'native', args, fault })
  const command = (...words: string[]) =>
    modelcache([...words, mount.mountpoint], { env: mount.env, deadlineMs: 60_000 })
  const doing = [
    () => steps(mount, journal, 'work'),
    () => command('commit'),
    () => steps(mount, journal, 'tidy'),
    () => command('commit'),
    () => command('share'),
    () => command('unmount', '--timeout', '20'),
  ]
  const codes: (number | null)[] = []
  for (const step of doing) {
    if (!existsSync(marker)) {
      codes.push((await step()).code)
    }
  }
  if (!existsSync(marker)) {
    assert.deepEqual(codes, [0, 0, 0, 0, 0, 0])
    return false
  }
  const victim = Number(readFileSync(marker, 'utf8'))
  await waitFor(`process ${victim} to be dead`, () => !isAlive(victim))
  // Of the daemon's death nobody sees anything but who asked it something.
  const keeperLives = action === 'kill' && !point.startsWith('keeper.')
  const seen = [codes[0], codes[2]].filter((code) => code !== undefined && code !== 0)
  assert.deepEqual(seen, keeperLives ? [] : seen.map(() => 3))

  // Where the daemon alone died, the mount may be there still, or be on its way to its orderly end.
  await runOk('umount', ['-l', mount.mountpoint], { env: mount.env }).catch(() => undefined)
  await waitForKeeper(mount)
  await mount.mount()
  checkJournal(mount.mountpoint, readFileSync(journal, 'utf8'), 'done')
  await workAll(mount, journal)
  assert.equal((await mount.commitAll()).tree, tree, 'the tree of an undisturbed run')
  const verified = await modelcache(['verify', mount.mountpoint], mount)
  assert.match(verified.stdout, /nothing is wrong\n$/)
  assert.equal(verified.code, 0)
  await mount.unmount()
  return true
}

/** Taken away lazily, a mount ends when its keeper has drained: until then the store is locked. */
async function waitForKeeper({ store, env }: Mount): Promise<void> {
  await waitFor('the store to be free', async () => {
    const { code } = await run('flock', ['-n', join(store, 'lock'), 'true'], { env })
    return code === 0 || !existsSync(join(store, 'lock'))
  })
}

/** What a path may be after a crash. */
interface Known {
  /** Digests; null: it is not there. */
  states: (string | null)[]
  /** A step that shows no state of its own was begun, and was not acknowledged. */
  partial: boolean
}

/**
 * What was acknowledged last of each path is there; of a step that was begun and not acknowledged,
 * the state before or after it. Only of a file that is written anew in place it may be any part.
 *
 * @param by - what the bytes must survive: a crash of ours after `done`, a power cut after `durable`
 */
export function checkJournal(mountpoint: string, text: string, by: 'done' | 'durable'): void {
  const known = new Map<string, Known>()
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const [kind, path, digest, whole] = JSON.parse(line) as [string, string, string | null, boolean]
    const before = known.get(path) ?? { states: [], partial: false }
    if (kind === by) {
      known.set(path, { states: [digest], partial: false })
    } else if (kind === 'begin') {
      // Nothing was promised before: of what the origin had, and of what was not there, either is.
      const states = [...before.states, digest]
      known.set(path, { states, partial: before.partial || !whole })
    }
  }
  for (const [path, { states, partial }] of known) {
    const place = join(mountpoint, path)
    const isThere = lstatSync(place, { throwIfNoEntry: false }) !== undefined
    const now = isThere ? createHash('sha256').update(readFileSync(place)).digest('hex') : null
    const isKnown = states.includes(now) || now === originDigest(path)
    // The first step of a path may not have reached the disk.
    const isFirst = now === null && !hasMark(text, by, path)
    assert.ok(
      partial || isKnown || isFirst,
      `${path}: neither the acknowledged bytes nor others that it had`,
    )
    assert.ok(
      !isKnown || states.includes(now) || !hasMark(text, by, path),
      `${path}: old bytes came back`,
    )
  }
}

/** Whether a step on this path was acknowledged so. */
function hasMark(text: string, by: string, path: string): boolean {
  return text.includes(`["${by}", "${path}"`)
}

/** What the origin has under a path. */
function originDigest(path: string): string | undefined {
  const file = ORIGIN_FILES.find(([name]) => name === path)
  return file === undefined
    ? undefined
    : createHash('sha256')
        .update(Buffer.alloc(file[1], `${path} `))
        .digest('hex')
}
