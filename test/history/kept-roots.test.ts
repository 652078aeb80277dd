import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { KeptRoots } from '../../src/history/index.ts'
import type { LoggedCommit } from '../../src/writeback/index.ts'
import { tempDir } from '../support/index.ts'

function commit(sequence: number): LoggedCommit {
  const cid = CID.createV1(0x71, createDigest(0x12, new Uint8Array(32).fill(sequence)))
  const at = new Date(sequence)
  return { root: cid, tree: cid, rootMode: 0o755, rootMtimeNs: 1n, sequence, at, adopted: false }
}

const logOf = (...commits: LoggedCommit[]) => ({ commits: () => commits })
const sequences = (roots: KeptRoots) => roots.roots().map(({ sequence }) => sequence)

describe('kept roots', () => {
  it('are the newest and the pinned ones, also when the log forgot those', async (t) => {
    const path = join(await tempDir(t), 'kept-roots')
    const [one, two, three] = [commit(1), commit(2), commit(3)]
    const roots = await KeptRoots.open(path, logOf(three, two, one), undefined)
    assert.deepEqual(sequences(roots), [3])
    await roots.pin(one)
    await roots.pin(one)
    assert.deepEqual(sequences(roots), [3, 1])
    const later = await KeptRoots.open(path, logOf(commit(9), commit(8), commit(7)), 2)
    assert.deepEqual(sequences(later), [9, 8, 1])
    assert.deepEqual(
      later.older().map(({ sequence }) => sequence),
      [8, 1],
    )
    const again = await KeptRoots.open(path, logOf(commit(9), one), undefined)
    assert.deepEqual([again.keep, sequences(again)], [2, [9, 1]])
    assert.equal(await again.unpin(one.root), true)
    assert.equal(await again.unpin(one.root), false)
    assert.deepEqual(sequences(again), [9, 1], 'it is one of the newest')
  })

  it('that cannot be read stop the mount: guessing would drop what was to be kept', async (t) => {
    const path = join(await tempDir(t), 'kept-roots')
    for (const text of ['', '{}', '{"keep": 0, "pinned": []}', '{"keep": 1, "pinned": ["x"]}']) {
      writeFileSync(path, text)
      await assert.rejects(KeptRoots.open(path, logOf(), undefined), {
        code: 'malformed',
        message: /kept-roots: it cannot be read; write/,
      })
      assert.equal(readFileSync(path, 'utf8'), text)
    }
  })
})
