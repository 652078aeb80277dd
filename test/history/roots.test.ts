import assert from 'node:assert/strict'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  modelcacheJson,
  readTree,
  treeDifferences,
  withMount,
} from '../support/index.ts'

interface LogEntry {
  root: string
  tree: string
  current: boolean
  kept: boolean
  pinned: boolean
  missing: string[]
}

/** The full count of the issue, or one that keeps a test run short. */
const LONG = process.env.MODELCACHE_TEST_LONG === '1'
const FILES = LONG ? 1000 : 40
const FILE_BYTES = LONG ? 10 * 1024 * 1024 : 256 * 1024
const ROUNDS = 5
const KEPT = 3

const rootsOf = (mount: Mount) => modelcacheJson<LogEntry[]>(['log', mount.mountpoint], mount)

/** Different bytes for each file and round, quickly made. */
function content(file: number, round: number): Uint8Array {
  const bytes = Buffer.alloc(FILE_BYTES, `${file}-${round} `)
  bytes.writeUInt32LE(file * ROUNDS + round, FILE_BYTES - 4)
  return new Uint8Array(bytes)
}

function replaceAll(mount: Mount, round: number): void {
  for (let file = 0; file < FILES; file += 1) {
    const path = join(mount.mountpoint, `file-${file}`)
    writeFileSync(`${path}.tmp`, content(file, round))
    renameSync(`${path}.tmp`, path)
  }
}

/** Bytes of all inodes that tree and objects hold, each once. */
function storedBytes(store: string): number {
  const seen = new Map<number, number>()
  for (const folder of ['objects', 'tree']) {
    for (const name of readdirSync(join(store, folder))) {
      const { ino, blocks } = statSync(join(store, folder, name))
      seen.set(ino, blocks * 512)
    }
  }
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0)
}

describe('the roots of a mount', () => {
  for (const engine of FUSE_ENGINES) {
    it(`that are kept hold what they need, and nothing else stays, on ${engine}`, async (t) => {
      if (!has(t, 'fuse')) return
      const args = ['--keep-roots', String(KEPT)]
      const mount = await withMount(t, { engine, args })
      const roots: string[] = []
      for (let round = 0; round < ROUNDS; round += 1) {
        replaceAll(mount, round)
        roots.unshift((await mount.commitAll()).root)
      }
      const log = await rootsOf(mount)
      assert.deepEqual(
        log.map(({ root }) => root),
        roots,
      )
      assert.deepEqual(
        log.map(({ kept, missing }) => [kept, missing]),
        roots.map((_, index) => [index < KEPT, []]),
      )
      const needed = KEPT * FILES * FILE_BYTES
      const stored = storedBytes(mount.store)
      assert.ok(stored >= needed && stored <= needed * 1.05, `${stored} bytes for ${needed}`)
      await everyKeptRootOpens(t, mount, roots)

      // After a crash the same are known, and with one root less one is dropped.
      await mount.crash()
      await mount.mount(['--keep-roots', String(KEPT - 1)])
      await modelcacheJson(['gc', mount.mountpoint], mount)
      const fewer = storedBytes(mount.store)
      const stillNeeded = (KEPT - 1) * FILES * FILE_BYTES
      assert.ok(fewer >= stillNeeded && fewer <= stillNeeded * 1.05, `${fewer} for ${stillNeeded}`)
    })
  }

  it('can be pinned, and say which file was lost to them by a write in place', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    const at = (name: string) => join(mount.mountpoint, name)
    writeFileSync(at('removed'), 'removed later')
    writeFileSync(at('edited'), 'edited later')
    const { root } = await mount.commitAll()
    const pinned = await modelcacheJson(['pin', mount.mountpoint, '--root', root], mount)
    assert.deepEqual(pinned, { root, pinned: true })
    rmSync(at('removed'))
    await mount.commitAll()
    writeFileSync(at('more'), 'more')
    await mount.commitAll()
    const before = await rootsOf(mount)
    assert.deepEqual(
      before.map(({ current, kept, pinned, missing }) => ({ current, kept, pinned, missing })),
      [
        { current: true, kept: true, pinned: false, missing: [] },
        { current: false, kept: false, pinned: false, missing: [] },
        { current: false, kept: true, pinned: true, missing: [] },
      ],
    )
    writeFileSync(at('edited'), 'edited')
    await mount.commitAll()
    assert.deepEqual((await rootsOf(mount)).at(-1)?.missing, ['edited'])
    const page = await modelcache(['log', mount.mountpoint], mount)
    assert.match(page.stdout, /kept, pinned, incomplete\n {2}not here: edited\n$/)
    const told = await modelcache(['export', mount.mountpoint, 'x.car', '--root', root], {
      ...mount,
      cwd: mount.store,
    })
    assert.deepEqual([told.code, told.stdout], [4, ''])
    assert.match(told.stderr, /edited is not complete on this machine/)
    assert.deepEqual(
      readdirSync(mount.store).filter((name) => name.includes('.car')),
      [],
    )

    await modelcacheJson(['unpin', mount.mountpoint, '--root', root], mount)
    const objects = readdirSync(join(mount.store, 'objects')).length
    await modelcacheJson(['gc', mount.mountpoint], mount)
    assert.equal(readdirSync(join(mount.store, 'objects')).length, objects - 1)
    const refused = await modelcache(['pin', mount.mountpoint, '--root', root], mount)
    assert.match(refused.stderr, /it was not kept, and not all of it is here any more/)
    assert.equal(refused.code, 1)
  })

  it('lose no node that is needed when gc runs, is killed, and runs beside writers', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native', args: ['--keep-roots', '2'] })
    for (let round = 0; round < 4; round += 1) {
      for (const name of ['a', 'b']) {
        const folder = join(mount.mountpoint, `${name}-${round % 2}`)
        mkdirSync(folder, { recursive: true })
        // Two leaves and a node above them.
        const bytes = Buffer.alloc(1024 * 1024 + 100 + round, `${name}${round}`)
        writeFileSync(join(folder, 'large'), bytes)
        writeFileSync(join(folder, `small-${round}`), `${name} ${round}`)
      }
      const collected = modelcache(['gc', mount.mountpoint], mount)
      writeFileSync(join(mount.mountpoint, 'beside'), Buffer.alloc(1024 * 1024 + round, 'z'))
      await mount.commit()
      if (round === 1) await mount.killDaemon()
      await collected
    }
    for (const name of ['x', 'y', 'z']) {
      writeFileSync(join(mount.mountpoint, name), name)
      await mount.commitAll()
    }
    const { root } = await mount.commitAll()
    const { blocks } = await modelcacheJson<{ blocks: number }>(['gc', mount.mountpoint], mount)
    assert.ok(blocks > 0, 'earlier roots left nodes behind')
    await everyKeptRootOpens(t, mount, [root])
    const again = await modelcacheJson<{ blocks: number }>(['gc', mount.mountpoint], mount)
    assert.equal(again.blocks, 0)
  })
})

/** Each opens elsewhere, with every byte; what the last one shows is what is mounted. */
async function everyKeptRootOpens(
  t: Parameters<typeof withMount>[0],
  mount: Mount,
  roots: string[],
): Promise<void> {
  const { address } = await mount.share()
  for (const [index, root] of roots.slice(0, KEPT).entries()) {
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    if (index === 0) {
      const here = await readTree(mount.mountpoint)
      assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
    } else {
      for (let file = 0; file < FILES; file += 1) {
        const bytes = readFileSync(join(other.mountpoint, `file-${file}`))
        const expected = content(file, ROUNDS - 1 - index)
        assert.equal(Buffer.compare(bytes, expected), 0, `file-${file} of ${root}`)
      }
    }
    await other.unmount()
  }
}
