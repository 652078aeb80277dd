import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { PLAIN_WAY, statesOf } from './tested-ways.ts'

for (const way of statesOf(PLAIN_WAY)) {
  test(`no engine, ${way.name}: as a plain directory, but for what is exempt`, async (t) => {
    if (has(t, 'python', 'root')) await runContract(t, way)
  })
}
