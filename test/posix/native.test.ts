import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { NATIVE_WAY, statesOf } from './tested-ways.ts'

// No exemption: the keeper keeps all that a local disk keeps.
for (const way of statesOf(NATIVE_WAY)) {
  test(`the native engine, ${way.name}: as a plain directory`, async (t) => {
    if (has(t, 'fuse', 'python', 'root')) await runContract(t, way)
  })
}
