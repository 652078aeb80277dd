import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { PORTABLE_WAY, statesOf } from './tested-ways.ts'

for (const way of statesOf(PORTABLE_WAY)) {
  test(`the portable engine, ${way.name}: as a plain directory, but for what is exempt`, async (t) => {
    if (has(t, 'fuse', 'python', 'root')) await runContract(t, way)
  })
}
