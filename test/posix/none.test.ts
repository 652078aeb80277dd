import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { PLAIN } from './plain-exempt.ts'
import { committed, fetched, fresh } from './ways.ts'

for (const way of [fresh('none', PLAIN), committed('none', PLAIN), fetched('none', PLAIN)]) {
  test(`no engine, ${way.name}: as a plain directory, but for what is exempt`, async (t) => {
    if (has(t, 'python', 'root')) await runContract(t, way)
  })
}
