import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ReadAhead } from '../../src/hydrate/read-ahead.ts'

/** What is read ahead after each of these reads of one extent, as `start-end`. */
function after(reads: number[], fileExtents = 1000): string[] {
  const ahead = new ReadAhead(fileExtents)
  return reads.map((start) => {
    const range = ahead.advance({ start, end: start + 1 })
    return range.start < range.end ? `${range.start}-${range.end}` : ''
  })
}

describe('reading ahead', () => {
  test('begins with one extent and grows to 8 and 32', () => {
    assert.deepEqual(after([0, 1, 2, 3]), ['', '2-3', '3-11', '11-36'])
  })

  test('renews a window when half of it is used up', () => {
    const reads = Array.from({ length: 40 }, (_, index) => index)
    const asked = after(reads).filter((range) => range !== '')
    assert.deepEqual(asked, ['2-3', '3-11', '11-36', '36-52', '52-68'])
  })

  test('does nothing for a reader that jumps', () => {
    assert.deepEqual(after([0, 500, 20, 999, 100, 63]), ['', '', '', '', '', ''])
  })

  test('does nothing for reads of the same extent', () => {
    assert.deepEqual(after([5, 5, 5, 5]), ['', '', '', ''])
  })

  test('follows several readers of one file', () => {
    assert.deepEqual(after([0, 100, 1, 101, 2, 102]), ['', '', '2-3', '102-103', '3-11', '103-111'])
  })

  test('never goes beyond the end', () => {
    assert.deepEqual(after([0, 1, 2, 3, 4, 5], 6), ['', '2-3', '3-6', '', '', ''])
  })

  test('goes on where what it brought was read without asking', () => {
    assert.deepEqual(after([0, 1, 2, 11]), ['', '2-3', '3-11', '12-44'])
  })
})
