import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fakePeer } from '../ipfs/fake-peer.ts'
import { FUSE_ENGINES, has, withMount } from '../support/index.ts'
import { directory, GOOD, HOSTILE_DAGS } from './dags.ts'

const MIB = 1024 * 1024
const LONG = process.env.MODELCACHE_TEST_LONG === '1'
/** A daemon that has listed all of them; one that unfolded any of them would take gigabytes. */
const MAX_RESIDENT_BYTES = 512 * MIB

/** Peak memory of a process. */
function peakBytes(pid: number): number {
  const [, kib = ''] =
    /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

describe('a root of a stranger', () => {
  // Listing and fetching are the daemon's, the same for every engine.
  for (const engine of LONG ? FUSE_ENGINES : (['native'] as const)) {
    it(`shows what is good in it, and nothing of the rest, on ${engine}`, async (t) => {
      if (!has(t, 'fuse')) return
      const peer = await fakePeer(t)
      const parts = HOSTILE_DAGS.map(({ build }, index) => ({
        name: `case-${index}`,
        cid: build(peer),
      }))
      const root = directory(peer, parts)
      for (const [cid, bytes] of [...peer.blocks]) {
        peer.files.set(cid, bytes)
      }
      const args = ['--from', root.toString(), '--peer', peer.address, '--fetch-deadline', '2']
      const mount = await withMount(t, { engine, args })
      const begin = peakBytes((await mount.status()).pid)
      for (const [index, dag] of HOSTILE_DAGS.entries()) {
        const place = join(mount.mountpoint, `case-${index}`)
        // Asynchronously: the peer is in this process.
        const names = await readdir(place).catch((error: NodeJS.ErrnoException) => error.code)
        assert.deepEqual(Array.isArray(names) ? names.toSorted() : names, dag.names, dag.name)
        if (Array.isArray(dag.names) && dag.names.includes('good')) {
          assert.equal(await readFile(join(place, 'good'), 'utf8'), GOOD, dag.name)
          const { mode } = lstatSync(join(place, 'good'))
          assert.equal(mode & 0o7777, 0o644, dag.name)
        }
        for (const name of dag.unreadable ?? []) {
          await assert.rejects(readFile(join(place, name)), { code: 'EIO' }, `${dag.name}: ${name}`)
        }
      }
      assert.equal(statSync(mount.mountpoint).isDirectory(), true)
      const shown = HOSTILE_DAGS.filter(({ names }) => names !== 'ENOENT')
      assert.equal(readdirSync(mount.mountpoint).length, shown.length)
      const { pid, restarts } = await mount.status()
      assert.equal(restarts, 0, 'the daemon did not end')
      const peak = peakBytes(pid)
      assert.ok(peak < MAX_RESIDENT_BYTES, `${peak} bytes`)
      t.diagnostic(
        `${engine}: ${HOSTILE_DAGS.length} DAGs, peak ${Math.round(peak / MIB)} MiB, before ${Math.round(begin / MIB)} MiB`,
      )
    })
  }
})
