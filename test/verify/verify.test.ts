import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { inodeIdOf, openDatabase, stampOf } from '../../src/tree/index.ts'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  readTree,
  treeDifferences,
  withMount,
} from '../support/index.ts'

interface Report {
  counts: { nodes: number; files: number; placeholders: number; roots: number }
  findings: { kind: string; path: string; what: string; healed: boolean }[]
  found: number
  broken: number
}

const MIB = 1024 * 1024

async function verify(mount: Mount): Promise<Report & { code: number | null }> {
  const { code, stdout, stderr } = await modelcache(['verify', mount.mountpoint, '--json'], mount)
  assert.notEqual(stdout, '', stderr)
  return { code, ...(JSON.parse(stdout) as Report) }
}

const kinds = (report: Report) =>
  report.findings.map(({ kind, path, healed }) => [kind, path, healed] as const)

function fill({ mountpoint }: Mount): void {
  mkdirSync(join(mountpoint, 'hub/blobs'), { recursive: true })
  writeFileSync(join(mountpoint, 'hub/blobs/large'), Buffer.alloc(3 * MIB + 5, 'large '))
  writeFileSync(join(mountpoint, 'hub/blobs/small'), 'small')
  writeFileSync(join(mountpoint, 'config.json'), '{}')
  for (let index = 0; index < 20; index += 1) {
    writeFileSync(join(mountpoint, `file-${index}`), `file ${index}`)
  }
}

/** Flips a bit of a byte in a file of the store. */
function flip(path: string, offset: number): void {
  const fd = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset)
  byte[0] = (byte[0] ?? 0) ^ 0x10
  writeSync(fd, byte, 0, 1, offset)
  closeSync(fd)
}

/**
 * Other bytes under an unchanged stamp, as a disk makes them: the stamp in the table is made that
 * of the changed file. The mount must not be mounted.
 */
async function rot({ store }: Mount, path: string, offset: number): Promise<void> {
  const file = join(store, 'tree', path)
  const before = lstatSync(file, { bigint: true })
  flip(file, offset)
  utimesSync(file, Number(before.atimeMs) / 1000, Number(before.mtimeMs) / 1000)
  const database = await openDatabase(join(store, 'db'))
  try {
    const now = stampOf(lstatSync(file, { bigint: true }))
    assert.ok(await database.files.renewStamp(inodeIdOf(before), stampOf(before), now))
  } finally {
    await database.close()
  }
}

describe('verify', () => {
  for (const engine of FUSE_ENGINES) {
    it(`finds nothing wrong where nothing is, on ${engine}`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      fill(mount)
      await mount.commitAll()
      const report = await verify(mount)
      assert.deepEqual(kinds(report), [])
      assert.equal(report.code, 0)
      const { nodes, files, placeholders, roots } = report.counts
      assert.deepEqual([files, placeholders, roots], [23, 0, 1])
      assert.ok(nodes >= 5)
      // What is dirty or was just removed is no damage.
      writeFileSync(join(mount.mountpoint, 'config.json'), '{"new": 1}')
      rmSync(join(mount.mountpoint, 'file-1'))
      assert.deepEqual(kinds(await verify(mount)), [])
    })
  }

  it('makes nodes again that were damaged or lost, also the commit', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    fill(mount)
    const { tree } = await mount.commitAll()
    const nodes = readdirSync(join(mount.store, 'nodes'), { recursive: true, encoding: 'utf8' })
      .map((name) => join(mount.store, 'nodes', name))
      .filter((path) => statSync(path).isFile())
    for (const [index, path] of nodes.entries()) {
      if (index % 2 === 0) flip(path, 10)
      else unlinkSync(path)
    }
    const report = await verify(mount)
    assert.deepEqual([report.code, report.broken], [0, 0], JSON.stringify(report.findings))
    assert.ok(report.found >= nodes.length / 2)
    assert.deepEqual(kinds(await verify(mount)), [])
    const { root, tree: again } = await mount.commitAll()
    assert.equal(again, tree)
    const { address } = await mount.share()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    const here = await readTree(mount.mountpoint)
    assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
  })

  it('finds rot, serves none of it, and heals it from a peer that has the bytes', async (t) => {
    if (!has(t, 'fuse')) return
    const origin = await withMount(t, { engine: 'native' })
    fill(origin)
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const args = ['--from', root, '--peer', address]
    const mount = await withMount(t, { engine: 'native', args })
    const expected = await readTree(mount.mountpoint)
    await mount.commitAll()
    await mount.unmount()
    await rot(mount, 'hub/blobs/large', 2 * MIB + 77)
    await rot(mount, 'config.json', 0)

    // Without a peer it is named, and stays.
    await mount.mount(['--gate', 'closed'])
    const named = await verify(mount)
    assert.deepEqual(kinds(named).toSorted(), [
      ['rotten-file', 'config.json', false],
      ['rotten-file', 'hub/blobs/large', false],
    ])
    assert.match(named.findings.map(({ what }) => what).join(), /first at byte 2097152/)
    assert.equal(named.code, 1)
    const page = await modelcache(['verify', mount.mountpoint], mount)
    assert.match(page.stdout, /^damaged: hub\/blobs\/large: its bytes are not those of its CID/m)
    assert.equal((await mount.commitAll()).root, root, 'rot is no new version')
    await mount.unmount()

    // Never served: who opens it from here gets an error, and no wrong byte.
    await mount.mount(['--gate', 'open'])
    const there = await mount.share()
    const third = await withMount(t, {
      args: ['--from', root, '--peer', there.address, '--fetch-deadline', '2'],
    })
    assert.throws(() => readFileSync(join(third.mountpoint, 'config.json')), { code: 'EIO' })
    assert.equal(readFileSync(join(third.mountpoint, 'hub/blobs/small'), 'utf8'), 'small')
    await third.unmount()
    await mount.unmount()

    await mount.mount(['--peer', address])
    const open = openSync(join(mount.mountpoint, 'config.json'), 'r')
    const busy = await verify(mount)
    assert.deepEqual(
      kinds(busy).toSorted(),
      [
        ['rotten-file', 'config.json', false],
        ['rotten-file', 'hub/blobs/large', true],
      ],
      'a file that is open is left alone',
    )
    assert.match(busy.findings.map(({ what }) => what).join(), /a program has it open/)
    closeSync(open)
    const healed = await verify(mount)
    assert.deepEqual(kinds(healed), [['rotten-file', 'config.json', true]])
    assert.equal(healed.code, 0)
    assert.deepEqual(treeDifferences(expected, await readTree(mount.mountpoint)), [])
    const { hashedBytes } = (await mount.status()).settle
    assert.deepEqual([(await mount.commitAll()).root, hashedBytes], [root, 0])
  })

  it('fetches what a remote file was said to have, and names a record that is none', async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const origin = await withMount(t, { engine: 'native' })
    fill(origin)
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const args = ['--from', root, '--peer', address]
    const mount = await withMount(t, { engine: 'native', args })
    const large = join(mount.mountpoint, 'hub/blobs/large')
    const fd = openSync(large, 'r')
    const some = Buffer.alloc(100)
    readSync(fd, some, 0, 100, 3 * MIB - 50)
    closeSync(fd)
    await mount.unmount()
    const extents = readdirSync(join(mount.store, 'extents'))
    assert.equal(extents.length, 1)
    flip(join(mount.store, 'tree/hub/blobs/large'), 3 * MIB - 60)
    await mount.mount(['--peer', address])
    const report = await verify(mount)
    const expected = ['rotten-placeholder', 'hub/blobs/large', true]
    assert.deepEqual(kinds(report), [expected])
    assert.equal(report.counts.placeholders, 23)
    assert.deepEqual(readFileSync(large), readFileSync(join(origin.mountpoint, 'hub/blobs/large')))

    const record = join(mount.store, 'tree/config.json')
    execFileSync('python3', ['-c', SET_RECORD, record])
    const damaged = await verify(mount)
    assert.deepEqual(kinds(damaged)[0], ['damaged-record', 'config.json', false])
    assert.equal(damaged.code, 1)
  })

  it('makes table and objects agree again', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    fill(mount)
    const { root } = await mount.commitAll()
    const [first = '', second = ''] = readdirSync(join(mount.store, 'objects'))
    await mount.unmount()
    unlinkSync(join(mount.store, 'objects', first))
    await mount.mount([])
    const report = await verify(mount)
    assert.deepEqual(kinds(report), [['lost-object', `objects/${first}`, true]])
    assert.equal((await mount.commitAll()).root, root)
    await mount.unmount()
    const database = await openDatabase(join(mount.store, 'db'))
    await database.leaves.drop(BigInt(second))
    await database.close()
    await mount.mount([])
    assert.deepEqual(kinds(await verify(mount)), [['lost-leaves', `objects/${second}`, true]])
    const { address } = await mount.share()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    const here = await readTree(mount.mountpoint)
    assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
  })
})

const SET_RECORD = 'import os,sys; os.setxattr(sys.argv[1], "user.mc", b"no record")'

describe('a store', () => {
  for (const [what, copy] of [
    ['with its links', ['-a']],
    ['without them', ['-r', '--preserve=mode,timestamps,xattr']],
  ] as const) {
    it(`that was copied ${what} is verified and serves the same`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine: 'native' })
      fill(mount)
      const { tree } = await mount.commitAll()
      const before = await readTree(mount.mountpoint)
      await mount.unmount()
      execFileSync('cp', [...copy, mount.store, `${mount.store}.copy`])
      rmSync(mount.store, { recursive: true })
      execFileSync('mv', [`${mount.store}.copy`, mount.store])
      await mount.mount([])
      await mount.commitAll()
      const report = await verify(mount)
      assert.deepEqual([report.code, report.broken], [0, 0], JSON.stringify(report.findings))
      assert.deepEqual(treeDifferences(before, await readTree(mount.mountpoint)), [])
      assert.equal((await mount.commitAll()).tree, tree)
      // Each byte once: no object is left that is a file of its own.
      for (const name of readdirSync(join(mount.store, 'objects'))) {
        assert.equal(statSync(join(mount.store, 'objects', name)).nlink, 2, name)
      }
    })
  }

  it('whose database is older than the tree commits what is in the tree', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { engine: 'native' })
    fill(mount)
    await mount.commitAll()
    await mount.unmount()
    const db = join(mount.store, 'db')
    execFileSync('cp', ['-a', db, `${db}.older`])
    await mount.mount([])
    const edited = join(mount.mountpoint, 'config.json')
    const { atime, mtime } = statSync(edited)
    writeFileSync(edited, '[]')
    // The same size, and the old mtime: only the ctime tells.
    utimesSync(edited, atime, mtime)
    writeFileSync(join(mount.mountpoint, 'new'), 'new')
    rmSync(join(mount.mountpoint, 'file-3'))
    const { tree } = await mount.commitAll()
    await mount.unmount()
    rmSync(db, { recursive: true })
    execFileSync('mv', [`${db}.older`, db])
    writeFileSync(join(mount.store, 'unclean'), '')
    await mount.mount([])
    assert.equal((await mount.commitAll()).tree, tree)
    const report = await verify(mount)
    assert.deepEqual([report.code, report.broken], [0, 0], JSON.stringify(report.findings))
    const { address } = await mount.share()
    const { root } = await mount.commitAll()
    const other = await withMount(t, { args: ['--from', root, '--peer', address] })
    const here = await readTree(mount.mountpoint)
    assert.deepEqual(treeDifferences(here, await readTree(other.mountpoint)), [])
  })
})
