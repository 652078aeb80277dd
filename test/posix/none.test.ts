import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { PLAIN } from './plain-exempt.ts'
import { committed, fetched, fresh } from './ways.ts'

// A fetched tree is a committed one that came another way: in the long run.
const long = process.env.MODELCACHE_TEST_LONG === '1' ? [fetched('none', PLAIN)] : []

for (const way of [fresh('none', PLAIN), committed('none', PLAIN), ...long]) {
  test(`no engine, ${way.name}: as a plain directory, but for what is exempt`, async (t) => {
    if (has(t, 'python', 'root')) await runContract(t, way)
  })
}
