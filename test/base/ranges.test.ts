import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { RangeSet } from '../../src/base/index.ts'

const set = (...pairs: [number, number][]) =>
  new RangeSet(pairs.map(([start, end]) => ({ start, end })))
const pairs = (ranges: readonly { start: number; end: number }[]) =>
  ranges.map(({ start, end }) => [start, end])

describe('RangeSet', () => {
  it('joins what overlaps or touches', () => {
    assert.deepEqual(pairs(set([5, 7], [0, 2], [2, 3], [6, 9]).ranges), [
      [0, 3],
      [5, 9],
    ])
  })

  it('ignores empty ranges', () => {
    assert.deepEqual(set([3, 3], [5, 4]).ranges, [])
    assert.ok(set().covers({ start: 4, end: 4 }))
  })

  it('agrees with a set of numbers after random steps', () => {
    // A linear congruential generator: the same steps each time.
    let seed = 42
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
      return seed % below
    }
    const ranges = new RangeSet()
    const numbers = new Set<number>()
    for (let step = 0; step < 2000; step += 1) {
      const start = random(100)
      const range = { start, end: start + random(20) }
      const add = random(2) === 0
      for (let number = range.start; number < range.end; number += 1) {
        numbers[add ? 'add' : 'delete'](number)
      }
      ranges[add ? 'add' : 'subtract'](range)
      const probe = { start: random(100), end: 100 }
      const absent = [...Array(100).keys()].filter((n) => n >= probe.start && !numbers.has(n))
      assert.equal(ranges.size, numbers.size)
      assert.equal(ranges.covers(probe), absent.length === 0)
      assert.deepEqual(
        ranges
          .missing(probe)
          .flatMap(({ start, end }) => [...Array(end - start).keys()].map((n) => n + start)),
        absent,
      )
    }
  })
})
