import { randomInt } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { TARGETS } from './targets.ts'

/** The full count of the issue, or one that keeps a test run short. */
const INPUTS = process.env.MODELCACHE_TEST_LONG === '1' ? 10_000_000 : 2_000
/** Printed, so that a failure can be had again. */
const SEED = Number(process.env.MODELCACHE_TEST_SEED ?? randomInt(2 ** 31))

describe(`parsers of foreign bytes, seed ${SEED}`, () => {
  for (const { name, property } of TARGETS) {
    it(`${name}: ${INPUTS} inputs`, async () => {
      await fc.assert(property, { numRuns: INPUTS, seed: SEED })
    })
  }
})
