import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { has, ordinaryUser, repositoryRoot, runOk } from '../support/index.ts'
import { judge, type Observed } from './contract.ts'
import { statesOf, USER_WAY } from './tested-ways.ts'

/** The plain directory, the whole table and its prepared rows, on a busy machine. */
const DEADLINE_MS = 900_000

test('the native engine of an ordinary user: as a plain directory', async (t) => {
  if (!has(t, 'fuse', 'python', 'root')) return
  const user = ordinaryUser(t)
  const program = join(user.repository, 'test/posix/observe-as-user.ts')
  const { code, stdout, stderr } = await user.run(`exec "$NODE" "${program}" .`, DEADLINE_MS)
  assert.equal(code, 0, `${stdout}\n${stderr}`)
  for (const { name, exempt } of statesOf(USER_WAY)) {
    const text = readFileSync(join(user.home, `${name}.json`), 'utf8')
    await t.test(name, (way) => judge(way, JSON.parse(text) as Observed, exempt))
  }
})

const FOREIGN = 'test/posix/python/foreign.py'

/** What commit names as not settled: `{path, reason}`, and how many. */
interface Committed {
  root: string
  dirty: number
  open: { path: string; reason: string }[]
}

test('files of others and closed ones: the same rights, and commit names them', async (t) => {
  if (!has(t, 'fuse', 'python', 'root')) return
  const user = ordinaryUser(t)
  const { home } = user
  const ran = async (lines: string) => {
    const { code, stdout, stderr } = await user.run(`set -e\n${lines}`)
    assert.equal(code, 0, `${stdout}\n${stderr}`)
    return stdout
  }
  await ran('$M mount m --store s --engine native && mkdir m/rows plain && $M unmount m')
  const env = { PATH: process.env.PATH ?? '' }
  for (const place of ['s/tree/rows', 'plain']) {
    await runOk('python3', ['-B', join(repositoryRoot, FOREIGN), 'make', join(home, place)], {
      env,
    })
  }
  const look = (place: string) => `python3 -B ${user.repository}/${FOREIGN} look ${place}`
  const plain = JSON.parse(await ran(look('plain'))) as [string, unknown][]
  // What was put into the tree past the mount is looked for after an unclean stop.
  const mounted = await ran(`
    touch s/unclean
    $M mount m --store s --engine native --json > mounted
    $M commit m --json > before
    ${look('m/rows')}
    $M commit m --json > after
    $M status m --json > status
    $M unmount m --json > unmounted || test $? = 3`)
  assert.ok(plain.length > 1000)
  assert.deepEqual(differences(plain, JSON.parse(mounted)), [])

  const said = (file: string) => JSON.parse(readFileSync(join(home, file), 'utf8')) as Committed
  const before = new Map(said('before').open.map(({ path, reason }) => [path, reason]))
  for (const name of ['secret', 'own-closed', 'own-write-only']) {
    assert.match(before.get(`rows/${name}`) ?? '', /Permission denied/, name)
  }
  for (const name of ['their-closed', 'no-search', 'no-list', 'closed']) {
    assert.equal(before.get(`rows/${name}`), 'it cannot be listed', name)
  }
  // A lease is its owner's to take, and without one nobody knows who writes.
  assert.ok(before.has('rows/theirs'))
  assert.ok(!before.has('rows/own') && !before.has('rows/own-read-only'))
  assert.equal(said('before').dirty, before.size)
  assert.notEqual(said('after').root, said('before').root)
})

/** The facts that differ, with both values. */
function differences(plain: [string, unknown][], here: [string, unknown][]): unknown[] {
  const found = new Map(here)
  return plain
    .filter(([name, value]) => !isDeepStrictEqual(found.get(name), value))
    .map(([name, value]) => ({ name, plain: value, here: found.get(name) }))
}
