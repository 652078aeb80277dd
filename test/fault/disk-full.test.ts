import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { onSmallDisk } from '../scenarios/small-disk.ts'
import { has, modelcache, runOk, waitFor, withMount } from '../support/index.ts'
import { randomNumbers } from './random.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 96 * MIB
const FILE_BYTES = 12 * MIB
/** The issue asks for fifty. */
const MOMENTS = process.env.MODELCACHE_TEST_LONG === '1' ? 50 : 6
const SEED = Number(process.env.MODELCACHE_TEST_SEED ?? randomInt(2 ** 31))

const bytesOf = (name: string) => Buffer.alloc(FILE_BYTES, `${name} `)

/** As a download does: piece by piece, then fsync. @returns the errno of what failed */
function download(path: string, bytes: Buffer): string | undefined {
  const fd = openSync(path, 'w')
  try {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd, bytes, done, Math.min(MIB, bytes.length - done))
    }
    fsyncSync(fd)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  } finally {
    closeSync(fd)
  }
}

/** @returns the errno of what failed, or undefined where every byte is right */
function load(path: string, expected: Buffer): string | undefined {
  try {
    assert.equal(Buffer.compare(readFileSync(path), expected), 0, `${path}: wrong bytes`)
    return undefined
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    return (error as NodeJS.ErrnoException).code
  }
}

describe(`a disk that becomes full at a random moment, seed ${SEED}`, () => {
  it('of a download or a load gives its errno, loses nothing, and all goes on with room', async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const random = randomNumbers(SEED)
    const origin = await withMount(t)
    for (let moment = 0; moment < MOMENTS; moment += 1) {
      writeFileSync(join(origin.mountpoint, `remote-${moment}`), bytesOf(`remote-${moment}`))
    }
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    await onSmallDisk(t, DISK_BYTES, async (disk) => {
      const args = ['--from', root, '--peer', address, '--fetch-deadline', '5']
      const mount = await withMount(t, { engine: 'native', args, store: join(disk, 'store') })
      const at = (name: string) => join(mount.mountpoint, name)
      const filler = join(disk, 'filler')
      const failed: string[] = []
      for (let moment = 0; moment < MOMENTS; moment += 1) {
        const kept = openSync(at(`kept-${moment}`), 'w')
        writeSync(kept, `acknowledged ${moment}`)
        fsyncSync(kept)
        closeSync(kept)
        const name = moment % 2 === 0 ? `remote-${moment}` : `local-${moment}`
        const work = () =>
          moment % 2 === 0 ? load(at(name), bytesOf(name)) : download(at(name), bytesOf(name))

        const leave = Math.floor(random() * FILE_BYTES)
        const { bavail, bsize } = statfsSync(disk)
        await runOk('fallocate', ['-l', String(bavail * bsize - leave), filler], { env: mount.env })
        const errno = work()
        assert.ok(errno === 'ENOSPC' || (errno === 'EIO' && moment % 2 === 0), `${name}: ${errno}`)
        failed.push(errno)
        // What is there can be read, and the mount answers, on a full disk as well.
        assert.equal(readFileSync(at(`kept-${moment}`), 'utf8'), `acknowledged ${moment}`)
        const { stdout } = await modelcache(['status', mount.mountpoint, '--json'], mount)
        assert.match(stdout, /"state": "serving"/)

        rmSync(filler)
        await waitFor(`${name} with room again`, () => work() === undefined)
        assert.equal(load(at(name), bytesOf(name)), undefined)
        await mount.commitAll()
        rmSync(at(name))
        await mount.commitAll()
      }
      for (let moment = 0; moment < MOMENTS; moment += 1) {
        assert.equal(readFileSync(at(`kept-${moment}`), 'utf8'), `acknowledged ${moment}`)
      }
      const verified = await modelcache(['verify', mount.mountpoint], mount)
      assert.equal(verified.code, 0, verified.stdout)
      await mount.unmount()
      t.diagnostic(`errnos: ${failed.join(' ')}`)
    })
  })
})
