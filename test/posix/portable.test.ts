import { test } from 'node:test'
import { has } from '../support/index.ts'
import { runContract } from './contract.ts'
import { PORTABLE } from './portable-exempt.ts'
import { committed, fresh, readOnly, remote } from './ways.ts'

for (const way of [
  fresh('fuse-native', PORTABLE),
  committed('fuse-native', PORTABLE),
  remote('fuse-native', PORTABLE),
  readOnly('fuse-native', PORTABLE),
]) {
  test(`the portable engine, ${way.name}: as a plain directory, but for what is exempt`, async (t) => {
    if (has(t, 'fuse', 'python', 'root')) await runContract(t, way)
  })
}
