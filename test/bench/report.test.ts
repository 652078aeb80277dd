import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryRoot } from '../support/index.ts'
import { MEASURES, SIZES } from './measures.ts'
import { benchDocument, table, unsteady, verdict } from './report.ts'
import { type BenchResult, median, type Sample, type WayFacts } from './result.ts'

const way = (id: string, state: WayFacts['state'] = 'measured'): WayFacts => ({
  id,
  title: id,
  state,
  detail: state === 'missing' ? 'no such engine' : 'as it is',
})

/** Three rounds of one measure, as bytes a second. */
const rounds = (id: string, measure: string, speeds: number[]): Sample[] =>
  speeds.map((speed, index) => ({
    way: id,
    measure,
    round: index + 1,
    seconds: 1e9 / speed,
    amount: 1e9,
    unit: 'B',
  }))

function result(ways: WayFacts[], samples: Sample[]): BenchResult {
  return {
    version: 1,
    date: '2026-01-02T03:04:05.000Z',
    commit: '0123456789ab',
    minutes: 1,
    rounds: 3,
    sizes: SIZES,
    machine: {
      kernel: '6.18',
      cpus: '2 × x',
      memoryGiB: 24,
      fileSystem: 'ext4',
      load: { start: 0, end: 1 },
      versions: { node: 'v22' },
    },
    ways,
    samples,
  }
}

describe('median', () => {
  it('is the middle, or the mean of the two in the middle', () => {
    assert.equal(median([3, 1, 100]), 3)
    assert.equal(median([4, 1, 2, 100]), 3)
    assert.equal(median([7]), 7)
    assert.equal(median([]), undefined)
  })
})

describe('the table of a benchmark', () => {
  it('has medians, and ratios to the plain directory', () => {
    const text = table(
      result(
        [way('plain'), way('native'), way('bindfs', 'missing')],
        [
          ...rounds('plain', 'write', [300e6, 100e6, 200e6]),
          ...rounds('native', 'write', [100e6, 50e6, 900e6]),
        ],
      ),
    )
    assert.match(text, /^\| {2}\| unit \| plain \| native \|\n/)
    assert.match(
      text,
      /\| sequential write of 256 MiB, with fsync \| MB\/s \| 200 \| 100 \(0\.50\) \|$/,
    )
  })

  it('has a title for each measure that can be taken', () => {
    const ids = MEASURES.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length)
    const probe = readFileSync(join(repositoryRoot, 'test/bench/probe.py'), 'utf8')
    const taken = [...probe.matchAll(/timed\("([\w-]+)"/g)].map((match) => match[1] ?? '')
    assert.deepEqual(new Set(taken), new Set(ids))
  })
})

describe('the note on unsteady measures', () => {
  it('names those whose samples of the plain directory differ by more than twice', () => {
    const samples = [
      ...rounds('plain', 'write', [100e6, 201e6, 150e6]),
      ...rounds('plain', 'read-warm', [100e6, 199e6, 150e6]),
      ...rounds('native', 'stat', [1e6, 100e6, 2e6]),
    ]
    assert.match(
      unsteady(result([way('plain'), way('native')], samples)),
      /another\): write\. Their/,
    )
    assert.match(unsteady(result([way('plain')], samples.slice(3, 6))), /^Steady/)
  })
})

describe('the verdict on fuse-native', () => {
  const ways = [way('plain'), way('fuse-native'), way('bindfs')]

  it('says for each sequential measure whether half of bindfs is reached', () => {
    const text = verdict(
      result(ways, [
        ...rounds('fuse-native', 'write', [60e6, 50e6, 40e6]),
        ...rounds('bindfs', 'write', [100e6, 100e6, 100e6]),
        ...rounds('fuse-native', 'read-warm', [49e6, 49e6, 49e6]),
        ...rounds('bindfs', 'read-warm', [100e6, 100e6, 100e6]),
      ]),
    )
    assert.match(
      text,
      /write: fuse-native does 0\.50 of bindfs: met \(MB\/s in the rounds: 40 to 60 against 100 to 100\)/,
    )
    assert.match(text, /read-warm: fuse-native does 0\.49 of bindfs: NOT MET/)
  })

  it('says why there is none', () => {
    const text = verdict(result([way('plain'), way('fuse-native', 'missing')], []))
    assert.match(text, /not measured \(fuse-native: no such engine\)/)
  })
})

describe('docs/benchmarks.md', () => {
  it('is what the kept figures give', () => {
    const read = (path: string) => readFileSync(join(repositoryRoot, path), 'utf8')
    const kept: BenchResult = JSON.parse(read('docs/evidence/bench-issue-3.json'))
    assert.equal(read('docs/benchmarks.md'), benchDocument(kept))
  })
})
