import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { committed, fresh, readOnly, remote, served } from './ways.ts'

for (const way of [fresh, served, committed, remote, readOnly]) {
  test(`the native engine, ${way.name}: as a plain directory`, async (t) => {
    if (has(t, 'fuse', 'python', 'root')) await runContract(t, way)
  })
}
