import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { FAULT_POINTS } from '../../src/base/index.ts'
import { has, repositoryRoot } from '../support/index.ts'
import { type Case, crashAt, KEEPER_POINTS, undisturbed } from './crash-points.ts'
import { randomNumbers } from './random.ts'

const LONG = process.env.MODELCACHE_TEST_LONG === '1'
const SEED = Number(process.env.MODELCACHE_TEST_SEED ?? randomInt(2 ** 31))
const ROUNDS = LONG ? 10 : 1
const ACTIONS = ['kill', 'kill-both'] as const

/** Text of all sources of a folder. */
function sources(folder: string, ending: string): string {
  const place = join(repositoryRoot, folder)
  return readdirSync(place, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(place, name), 'utf8'))
    .join('\n')
}

describe('the table of fault points', () => {
  it('names what is in the code, and nothing else', () => {
    const daemon = sources('src', '.ts')
    const unused = Object.keys(FAULT_POINTS).filter((one) => !daemon.includes(`reached('${one}')`))
    assert.deepEqual(unused, [])
    const keeper = sources('native/src', '.rs')
    const used = [...keeper.matchAll(/fault::reached\(\s*"([^"]+)"/g)].map((match) => match[1])
    assert.deepEqual([...new Set(used)].toSorted(), KEEPER_POINTS.toSorted())
  })
})

describe(`a crash, seed ${SEED}`, () => {
  const random = randomNumbers(SEED)
  const visited = new Map<string, number>()

  it('at any point loses nothing, and the tree is the same', { concurrency: 3 }, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const all = await undisturbed(t)
    const cases: Promise<void>[] = []
    for (const point of [...Object.keys(FAULT_POINTS), ...KEEPER_POINTS]) {
      // A short run does one of the two at each point, the next seed may do the other.
      const either = random() < 0.5 ? ACTIONS.slice(0, 1) : ACTIONS.slice(1)
      for (const action of LONG ? ACTIONS : either) {
        for (let round = 0; round < ROUNDS; round += 1) {
          const visit = 1 + Math.floor(random() ** 2 * 6)
          const name = `${action} at visit ${visit} of ${point}`
          const done = t.test(name, async (case_) => {
            const one: Case = { point, visit, action }
            const hit =
              (await crashAt(case_, one, all)) || (await crashAt(case_, { ...one, visit: 1 }, all))
            assert.ok(hit, `${point} was not visited`)
            visited.set(point, (visited.get(point) ?? 0) + 1)
          })
          cases.push(done)
        }
      }
    }
    await Promise.all(cases)
    t.diagnostic(`crashes by point: ${JSON.stringify(Object.fromEntries(visited))}`)
  })
})
