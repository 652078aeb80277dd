import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { content } from '../network/content.ts'
import { from, sharedOrigin } from '../network/pair.ts'
import { FUSE_ENGINES, has, waitFor, withMount } from '../support/index.ts'
import { assertClaims, assertSameFacts, runPhase } from './drive.ts'
import { onSmallDisk } from './small-disk.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 64 * MIB
const NAME = 's33_space'
const nothing = async () => undefined

// Scenario 33: limits of space. The store lies on a disk of 64 MiB, the oracle on another.
for (const engine of FUSE_ENGINES) {
  test(`${engine}: ${NAME}`, async (t) => {
    if (!has(t, 'fuse', 'root', 'python')) return
    const oracle = await onSmallDisk(t, DISK_BYTES, async (disk) => {
      const root = join(disk, 'plain')
      mkdirSync(root)
      const run = await runPhase(NAME, 'run', root, join(disk, '../a'), nothing)
      return { run, check: await runPhase(NAME, 'check', root, join(disk, '../a'), nothing) }
    })
    await onSmallDisk(t, DISK_BYTES, async (disk) => {
      const store = join(disk, 'store')
      const args = ['--store', store]
      const mount = await withMount(t, { engine, args })
      const onPause = async (what: string) => {
        if (what === 'commit') {
          await mount.commitAll()
        } else if (what === 'look') {
          // A daemon that cannot delete a row ends, and waits for room to open its database in.
          assert.equal((await mount.status()).state, 'serving')
        } else {
          await waitFor('a daemon that serves', async () => (await mount.status()).pid > 0)
          await mount.commitAll()
        }
      }
      const scratch = join(disk, '../b')
      const run = await runPhase(NAME, 'run', mount.mountpoint, scratch, onPause)
      assertSameFacts(NAME, oracle.run, run)
      assertClaims(NAME, run)
      await mount.commitAll()
      await mount.unmount()
      await mount.mount(args)
      const check = await runPhase(NAME, 'check', mount.mountpoint, scratch, onPause)
      assertSameFacts(`${NAME} after unmount and mount`, oracle.check, check)
    })
  })

  test(`${engine}: what is fetched onto a full disk is right or an error`, async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const model = content(48 * MIB, 'larger than the disk')
    const origin = await sharedOrigin(t, async (directory) => {
      await writeFile(join(directory, 'model.bin'), model)
      await writeFile(join(directory, 'small.bin'), model.subarray(0, 4 * MIB))
    })
    await onSmallDisk(t, 40 * MIB, async (disk) => {
      const args = [...from(origin), '--store', join(disk, 'store'), '--fetch-deadline', '2']
      const { mountpoint } = await withMount(t, { engine, args })
      const at = (name: string) => join(mountpoint, name)
      assert.equal((await stat(at('model.bin'))).size, model.length)
      await assert.rejects(readFile(at('model.bin')), (error: NodeJS.ErrnoException) =>
        ['EIO', 'ENOSPC'].includes(error.code ?? ''),
      )
      await rm(at('model.bin'))
      const small = await waitFor('room for the small one', () => readFile(at('small.bin')))
      assert.equal(digest(small), digest(model.subarray(0, 4 * MIB)))
    })
  })
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
