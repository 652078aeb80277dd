import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as dagCbor from '@ipld/dag-cbor'
import { type Commit, decodeCommit, encodeCommit } from '../../src/dag/index.ts'
import { mutate, randomNumbers } from '../tree/fixtures.ts'
import { cidOf, rawCid } from './fixtures.ts'

const commit: Commit = {
  tree: cidOf(Buffer.from('tree')),
  meta: cidOf(Buffer.from('meta'), dagCbor.code),
  rootMode: 0o755,
  rootMtimeNs: 1_700_000_000_123_456_789n,
  parents: [cidOf(Buffer.from('parent'), dagCbor.code)],
  sequence: 7,
  key: new Uint8Array(32).fill(3),
}

describe('the block of a commit', () => {
  it('comes back as it was, and has one CID', () => {
    const { cid, bytes } = encodeCommit(commit)
    assert.equal(cid.code, dagCbor.code)
    assert.equal(cid.toString(), cidOf(bytes, dagCbor.code).toString())
    assert.deepEqual(decodeCommit(bytes), commit)
    assert.deepEqual(encodeCommit({ ...commit }).bytes, bytes)
    const first = { ...commit, parents: [], rootMtimeNs: -1n }
    assert.deepEqual(decodeCommit(encodeCommit(first).bytes), first)
  })

  const bad: [string, Record<string, unknown>][] = [
    ['another version', { commit: 2 }],
    ['no tree', { tree: null }],
    ['a tree that is raw', { tree: rawCid('x') }],
    ['a meta that is UnixFS', { meta: commit.tree }],
    ['a mode with type bits', { mode: 0o40755 }],
    ['an mtime that is text', { mtime: 'now' }],
    ['parents that are no list', { parents: commit.meta }],
    ['a hundred parents', { parents: Array(100).fill(commit.meta) }],
    ['a negative sequence', { sequence: -1 }],
    ['a sequence of 2^60', { sequence: 2n ** 60n }],
    ['a short key', { key: new Uint8Array(31) }],
    ['a key that is text', { key: 'k'.repeat(32) }],
  ]
  for (const [what, change] of bad) {
    it(`with ${what} is refused`, () => {
      const fields: object = dagCbor.decode(encodeCommit(commit).bytes)
      const bytes = dagCbor.encode({ ...fields, ...change })
      assert.throws(() => decodeCommit(bytes), { code: 'malformed', errno: 'EIO' })
    })
  }

  it('is not made from what would be refused', () => {
    assert.throws(() => encodeCommit({ ...commit, sequence: 1.5 }), { code: 'malformed' })
  })

  it('is refused in one way, or sound, after any change', () => {
    const random = randomNumbers(5)
    const { bytes: original } = encodeCommit(commit)
    for (let round = 0; round < 5000; round += 1) {
      try {
        decodeCommit(mutate(original, random))
      } catch (error) {
        const { code = '' } = error as { code?: string }
        assert.match(code, /^(malformed|weak-hash)$/)
      }
    }
  })
})
