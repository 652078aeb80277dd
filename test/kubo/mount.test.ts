import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { has, modelcacheJson, withMount } from '../support/index.ts'
import { readGolden } from './golden.ts'
import { makeShapes } from './shapes.ts'

/** Ten thousand files settle one by one, and the longest has a gigabyte. */
const DEADLINE_MS = 120_000

describe('a commit of a mount', () => {
  it('has the CIDs that Kubo gives the same files', async (t) => {
    if (!has(t, 'fuse')) return
    const golden = await readGolden()
    const mount = await withMount(t)
    await makeShapes(mount.mountpoint)
    const committed = await mount.commitAll()
    assert.equal(committed.tree, golden.cids[''])

    const paths = Object.keys(golden.cids).filter((path) => path !== '')
    const asked = paths.map((path) => join(mount.mountpoint, path))
    const options = { env: mount.env, cwd: mount.mountpoint, deadlineMs: DEADLINE_MS }
    const answers = await modelcacheJson<{ path: string; cid: string }[]>(
      ['cid', ...asked],
      options,
    )
    const found = Object.fromEntries(answers.map(({ cid }, index) => [paths[index], cid]))
    const { '': _root, ...expected } = golden.cids
    assert.deepEqual(found, expected)
    await mount.unmount()
  })
})
