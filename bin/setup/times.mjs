// How long set-up took, for the run of tests that follows it.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT } from '../runtime.mjs'

const FILE = join(ROOT, '.modelcache/setup-times.json')

/** `npm test` begins at once when set-up has ended; an older record is of another set-up. */
const FRESH_MS = 60_000

/**
 * Does the steps one after the other.
 *
 * @param {[name: string, step: () => unknown][]} steps
 * @returns {Promise<{ name: string, ms: number }[]>} how long each of them took
 */
export async function timed(steps) {
  const times = []
  for (const [name, step] of steps) {
    const start = performance.now()
    await step()
    times.push({ name, ms: performance.now() - start })
  }
  return times
}

/** Leaves the times for who comes next. */
export function leaveTimes(times) {
  mkdirSync(dirname(FILE), { recursive: true })
  writeFileSync(FILE, JSON.stringify({ ended: Date.now(), times }))
}

/**
 * The times of the set-up that has just ended, once; none if nobody has set anything up.
 *
 * @returns {{ name: string, ms: number }[]}
 */
export function takeTimes() {
  let text
  try {
    text = readFileSync(FILE, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') {
      return []
    }
    throw error
  }
  rmSync(FILE, { force: true })
  const { ended, times } = JSON.parse(text)
  return Date.now() - ended < FRESH_MS ? times : []
}
