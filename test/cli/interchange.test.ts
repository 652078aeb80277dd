import assert from 'node:assert/strict'
import { chmodSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  type EngineName,
  type Mount,
  readTree,
  treeDifferences,
  withMount,
} from '../support/index.ts'

const ENGINES: readonly EngineName[] = ['native', 'fuse-native', 'none']
const MIB = 1024 * 1024

/** Files of several sizes and modes, links of both kinds, and one that is large enough to notice. */
function makeTree({ mountpoint }: Mount): void {
  const at = (name: string) => join(mountpoint, name)
  mkdirSync(at('hub/blobs'), { recursive: true })
  mkdirSync(at('hub/snapshots/empty'), { recursive: true })
  const large = Buffer.alloc(20 * MIB)
  for (let offset = 0; offset < large.length; offset += 4096) {
    large.writeUInt32LE(offset, offset)
  }
  writeFileSync(at('hub/blobs/large'), large)
  writeFileSync(at('hub/blobs/small'), 'small')
  writeFileSync(at('hub/blobs/nothing'), '')
  writeFileSync(at('script'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(at('private'), 'only mine')
  chmodSync(at('private'), 0o600)
  linkSync(at('hub/blobs/small'), at('hub/second name'))
  symlinkSync('../blobs/large', at('hub/snapshots/model.bin'))
}

describe('a tree that one engine made', () => {
  for (const maker of ENGINES) {
    it(`${maker}: is the same root with each other, and nothing is hashed again`, async (t) => {
      const mount = await withMount(t, { engine: maker })
      makeTree(mount)
      const made = await mount.commitAll()
      const before = await readTree(mount.mountpoint, { mtimes: true })
      assert.ok((await mount.status()).settle.hashedBytes >= 20 * MIB)
      await mount.unmount()

      let expected = made
      for (const engine of [...ENGINES.filter((one) => one !== maker), maker]) {
        await mount.mount(['--engine', engine])
        assert.equal((await mount.status()).engine, engine)
        const same = await mount.commitAll()
        assert.deepEqual([same.tree, same.root], [expected.tree, expected.root], engine)
        assert.equal((await mount.status()).settle.hashedBytes, 0, engine)
        if (engine !== maker && expected === made) {
          const after = await readTree(mount.mountpoint, { mtimes: true })
          assert.deepEqual(treeDifferences(before, after), [])
        }

        const text = `changed by ${engine}`
        writeFileSync(join(mount.mountpoint, 'private'), text)
        const changed = await mount.commitAll()
        assert.notEqual(changed.tree, expected.tree)
        assert.equal((await mount.status()).settle.hashedBytes, text.length, engine)
        expected = changed
        await mount.unmount()
      }
    })
  }
})
