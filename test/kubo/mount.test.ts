import assert from 'node:assert/strict'
import { lstatSync } from 'node:fs'
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

    // A link that is asked for leads to what it names, which may be nothing; the root has them all.
    const isLink = (path: string) => lstatSync(join(mount.mountpoint, path)).isSymbolicLink()
    const paths = Object.keys(golden.cids).filter((path) => path !== '' && !isLink(path))
    const asked = paths.map((path) => join(mount.mountpoint, path))
    const options = { env: mount.env, cwd: mount.mountpoint, deadlineMs: DEADLINE_MS }
    const answers = await modelcacheJson<{ path: string; cid: string }[]>(
      ['cid', ...asked],
      options,
    )
    const found = Object.fromEntries(answers.map(({ cid }, index) => [paths[index], cid]))
    const expected = Object.fromEntries(paths.map((path) => [path, golden.cids[path]]))
    assert.deepEqual(found, expected)
    await mount.unmount()
  })
})
