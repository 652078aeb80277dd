import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  FORGET_COPIED_MOUNTS,
  has,
  run,
  runOk,
  scrubbedEnvironment,
  start,
  waitFor,
} from '../support/index.ts'
import { PortableMount } from './portable-mount.ts'

const isLong = process.env.MODELCACHE_TEST_LONG === '1'
const RENAMES = isLong ? 2000 : 400
const NAMES = isLong ? 100_000 : 5000
const MIB = 1024 * 1024

/** Renames new versions over a name: the bytes of a version are all the same. */
const RENAMER = `
  const { writeFileSync, renameSync } = require('node:fs')
  const [, name, count] = process.argv
  for (let turn = 1; turn <= Number(count); turn += 1) {
    writeFileSync(name + '.tmp', Buffer.alloc(1 + (turn * 977) % 70000, turn % 256))
    renameSync(name + '.tmp', name)
  }
`

function text(fd: number): string {
  const bytes = Buffer.alloc(100)
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, 100, 0))
}

describe('the portable engine', () => {
  it('replaces a file that is read in a loop and held open: one version or another', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    const name = mount.at('model')
    writeFileSync(name, 'the first')
    const held = openSync(name, constants.O_RDWR)
    const renamer = start(process.execPath, ['-e', RENAMER, name, String(RENAMES)], {
      env: scrubbedEnvironment(tmpdir()),
    })
    let isOver = false
    const end = renamer.finished.finally(() => {
      isOver = true
    })
    let reads = 0
    while (!isOver) {
      const bytes = readFileSync(name)
      const isUniform = bytes.every((byte) => byte === bytes[0])
      assert.ok(isUniform || bytes.toString() === 'the first', `a mixture after ${reads} reads`)
      reads += 1
      await new Promise(setImmediate)
    }
    const { code, stderr } = await end
    assert.equal(code, 0, stderr)
    assert.ok(reads >= 50)
    assert.equal(text(held), 'the first')
    assert.equal(fstatSync(held).nlink, 0)
    closeSync(held)
    assert.deepEqual(readdirSync(mount.at()), ['model'])
    assert.deepEqual(readdirSync(mount.disk()), ['model'])
  })

  it('does everything with an open file that has no name, and shows none', async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const mount = await PortableMount.start(t)
    mkdirSync(mount.at('d'))
    const fd = openSync(mount.at('d', 'x'), 'w+')
    writeSync(fd, 'content')
    unlinkSync(mount.at('d', 'x'))
    assert.deepEqual([readdirSync(mount.at('d')), readdirSync(mount.disk('d'))], [[], []])
    assert.deepEqual(await mount.ask({ order: 'snapshot', all: true }), [
      ['', ['d']],
      ['d', []],
    ])
    writeSync(fd, ' and more', 7)
    ftruncateSync(fd, 11)
    fsyncSync(fd)
    assert.equal(text(fd), 'content and')
    assert.deepEqual([fstatSync(fd).nlink, fstatSync(fd).size], [0, 11])
    writeFileSync(mount.at('d', 'x'), 'another')
    assert.equal(text(fd), 'content and')
    const mapped = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 8192)
bytes = mmap.mmap(fd, 8192); os.unlink(sys.argv[1]); bytes[5000:5004] = b"maps"; bytes.flush()
print(os.pread(fd, 4, 5000).decode())`
    const { stdout } = await runOk('python3', ['-c', mapped, mount.at('mapped')], {
      env: scrubbedEnvironment(tmpdir()),
    })
    assert.equal(stdout.trim(), 'maps')
    closeSync(fd)
    assert.equal(readFileSync(mount.at('d', 'x'), 'utf8'), 'another')
  })

  it('lets a directory go below which a removed file is open, and the file stay', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    mkdirSync(mount.at('a', 'b'), { recursive: true })
    const fd = openSync(mount.at('a', 'b', 'x'), 'w+')
    writeSync(fd, 'kept')
    unlinkSync(mount.at('a', 'b', 'x'))
    // A named exception (docs/decisions/portable-engine.md): done, and answered so.
    assert.throws(() => rmdirSync(mount.at('a', 'b')), { code: 'ENOENT' })
    assert.deepEqual(readdirSync(mount.disk('a')), [])
    assert.throws(() => rmdirSync(mount.at('a')), { code: 'ENOENT' })
    assert.equal(text(fd), 'kept')
    mkdirSync(mount.at('new'))
    renameSync(mount.at('new'), mount.at('a'))
    assert.deepEqual([text(fd), fstatSync(fd).nlink], ['kept', 0])
    mkdirSync(mount.at('a', 'b'), { recursive: true })
    renameSync(mount.at('a'), mount.at('c'))
    assert.equal(text(fd), 'kept')
    closeSync(fd)
    rmdirSync(mount.at('c', 'b'))
    rmdirSync(mount.at('c'))
    assert.deepEqual(readdirSync(mount.disk()), [])
  })

  it('leaves no name of libfuse after SIGKILL, and the next mount goes on', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    for (const name of ['gone', 'old', 'new']) writeFileSync(mount.at(name), name)
    const fds = ['gone', 'old'].map((name) => openSync(mount.at(name), 'r'))
    unlinkSync(mount.at('gone'))
    renameSync(mount.at('new'), mount.at('old'))
    await mount.kill()
    for (const fd of fds) closeSync(fd)
    assert.deepEqual(readdirSync(mount.disk()), ['old'])
    const next = await PortableMount.start(t, { base: mount.base })
    assert.equal(readFileSync(next.at('old'), 'utf8'), 'new')
  })

  it('takes names of every kind, also those that are like its own', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    const names = [
      Buffer.from('.fuse_hidden0000000300000001'),
      Buffer.from('replaced \ufffd'),
      Buffer.from([0x61, 0xff, 0xc3]),
      Buffer.from([0x61, 0xff, 0xc3, 0xa9]),
      Buffer.from('é'),
    ]
    const at = (name: Buffer) => Buffer.concat([Buffer.from(`${mount.at()}/`), name])
    for (const name of names) {
      writeFileSync(mount.at('made'), name)
      const fd = openSync(mount.at('made'), 'r')
      renameSync(mount.at('made'), at(name))
      closeSync(fd)
    }
    const sorted = [...names].sort(Buffer.compare)
    assert.deepEqual(readdirSync(mount.at(), 'buffer'), sorted)
    for (const name of names) {
      assert.deepEqual(readFileSync(at(name)), name)
      unlinkSync(at(name))
    }
    assert.deepEqual(readdirSync(mount.disk()), [])
  })

  it('tells of names that are not UTF-8 by the directory around them', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    const odd = Buffer.concat([Buffer.from(`${mount.at()}/`), Buffer.of(0xfe)])
    mkdirSync(odd)
    mkdirSync(Buffer.concat([odd, Buffer.from('/inner')]))
    writeFileSync(Buffer.concat([odd, Buffer.from('/inner/file')]), 'x')
    await mount.ask({ order: 'snapshot', all: true })
    renameSync(odd, mount.at('even'))
    const listed = (await mount.ask({ order: 'snapshot', all: false })) as [string, string[]][]
    assert.deepEqual(new Map(listed).get('even/inner'), ['file'])
  })

  it('lists large directories sorted, with kinds and inode numbers', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    mkdirSync(mount.disk('many'))
    const names = Array.from({ length: NAMES }, (_, number) => `n${number}`).sort()
    for (const name of names) writeFileSync(mount.disk('many', name), '')
    mkdirSync(mount.disk('many', 'z'))
    const seen = readdirSync(mount.at('many'), { withFileTypes: true })
    assert.deepEqual(
      seen.map(({ name }) => name),
      [...names, 'z'],
    )
    assert.ok(seen.every((entry) => entry.isDirectory() === (entry.name === 'z')))
    const inodes = await runOk('ls', ['-i', mount.at('many')], {
      env: scrubbedEnvironment(tmpdir()),
    })
    assert.match(inodes.stdout, new RegExp(`\\b${statSync(mount.disk('many', 'n7')).ino} n7\\b`))
  })

  it('shows by one hard link what was written by another, and appends at the end', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    writeFileSync(mount.at('a'), 'one')
    linkSync(mount.at('a'), mount.at('b'))
    assert.equal(readFileSync(mount.at('b'), 'utf8'), 'one')
    writeFileSync(mount.at('a'), 'two')
    assert.equal(readFileSync(mount.at('b'), 'utf8'), 'two')
    const fds = ['a', 'b'].map((name) => openSync(mount.at(name), 'a'))
    for (const [turn, fd] of [...fds, ...fds].entries()) writeSync(fd, ` ${turn}`)
    for (const fd of fds) closeSync(fd)
    assert.equal(readFileSync(mount.disk('a'), 'utf8'), 'two 0 1 2 3')
    unlinkSync(mount.at('a'))
    assert.deepEqual([statSync(mount.at('b')).nlink, existsSync(mount.at('a'))], [1, false])
  })

  it('carries 64 MiB there and back, and counts them', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    const bytes = randomBytes(64 * MIB)
    writeFileSync(mount.at('large'), bytes)
    const digest = createHash('sha256').update(bytes).digest('hex')
    appendFileSync(mount.at('large'), 'x')
    const { stdout } = await runOk(
      'sh',
      ['-c', `head -c ${64 * MIB} "$0" | sha256sum`, mount.at('large')],
      { env: scrubbedEnvironment(tmpdir()) },
    )
    assert.equal(stdout.split(' ')[0], digest)
    const stats = (await mount.ask({ order: 'stats' })) as { reads: number; writes: number }
    assert.ok(stats.reads > 0 && stats.writes >= (64 * MIB) / (128 * 1024))
  })

  it('opens 3,000 files though it began with 1,024 descriptors', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t, { softLimit: 1024 })
    const fds = Array.from({ length: 3000 }, (_, n) => openSync(mount.at(`f${n}`), 'w+'))
    for (const [number, fd] of fds.entries()) writeSync(fd, String(number))
    assert.ok(fds.every((fd, number) => text(fd) === String(number)))
    for (const fd of fds) closeSync(fd)
  })

  it('is not unmounted while it is used, unless lazily', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    writeFileSync(mount.at('x'), 'x')
    const fd = openSync(mount.at('x'), 'r')
    await assert.rejects(mount.ask({ order: 'unmount', lazy: false }), { message: 'EBUSY' })
    assert.equal(readFileSync(mount.at('x'), 'utf8'), 'x')
    await mount.ask({ order: 'unmount', lazy: true })
    assert.ok(!existsSync(mount.at('x')))
    assert.equal(text(fd), 'x')
    closeSync(fd)
    await mount.ask({ order: 'unmount', lazy: false })
    await mount.ask({ order: 'done' })
    assert.ok(existsSync(`${mount.base}/store/unclean`), 'somebody may have written meanwhile')
  })

  it('leaves the store clean when it was unmounted and nothing is dirty', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    assert.ok(existsSync(`${mount.base}/store/unclean`))
    await mount.ask({ order: 'unmount', lazy: false })
    await mount.ask({ order: 'done' })
    assert.ok(!existsSync(`${mount.base}/store/unclean`))
  })

  it('notices that somebody else unmounted it', async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const mount = await PortableMount.start(t)
    mount.umount()
    const drain = await waitFor('drain', () => mount.events.find(({ event }) => event === 'drain'))
    assert.deepEqual(drain, { event: 'drain', reason: 'unmounted', unmounted: true })
  })

  it('refuses every change of a read-only mount', async (t) => {
    if (!has(t, 'fuse')) return
    const first = await PortableMount.start(t)
    writeFileSync(first.at('x'), 'x')
    await first.kill()
    const mount = await PortableMount.start(t, { base: first.base, readOnly: true })
    assert.equal(readFileSync(mount.at('x'), 'utf8'), 'x')
    for (const change of [
      () => writeFileSync(mount.at('x'), 'y'),
      () => writeFileSync(mount.at('new'), 'y'),
      () => unlinkSync(mount.at('x')),
      () => mkdirSync(mount.at('d')),
    ]) {
      assert.throws(change, { code: 'EROFS' })
    }
  })

  it('needs no libfuse of the system', async (t) => {
    if (!has(t, 'root')) return
    const binding = fileURLToPath(new URL('../../src/mount/portable/binding.ts', import.meta.url))
    const program = `
      const { portableEngineLack } = await import(${JSON.stringify(binding)})
      const { readFileSync } = await import('node:fs')
      const lack = portableEngineLack() ?? 'loaded'
      const maps = readFileSync('/proc/self/maps', 'utf8').match(/\\S*libfuse\\S*/g)
      console.log(JSON.stringify([lack, [...new Set(maps)]]))`
    const hide =
      'for f in /lib/*/libfuse.so.2* /usr/lib/*/libfuse.so.2*; do test -e $f && mount --bind /dev/null $f; done'
    const values = [
      '-m',
      'sh',
      '-c',
      `${FORGET_COPIED_MOUNTS}
      ${hide}; exec "$@"`,
      'sh',
      process.execPath,
    ]
    const { code, stdout, stderr } = await run(
      'unshare',
      [...values, '--input-type=module', '-e', program],
      { env: scrubbedEnvironment(tmpdir()) },
    )
    assert.equal(code, 0, stderr)
    assert.deepEqual(JSON.parse(stdout), ['loaded', ['/memfd:libfuse.so.2']])
  })

  it('follows no link out of the tree', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await PortableMount.start(t)
    mkdirSync(mount.at('d'))
    const directory = openSync(mount.at('d'), constants.O_RDONLY | constants.O_DIRECTORY)
    // Behind the mount; the descriptor goes on to stand for the directory of that name.
    renameSync(mount.disk('d'), `${mount.base}/moved`)
    const outside = `${mount.base}/outside`
    mkdirSync(outside)
    symlinkSync(outside, mount.disk('d'))
    assert.throws(() => writeFileSync(`/proc/self/fd/${directory}/leaked`, 'x'))
    assert.deepEqual(readdirSync(outside), [])
    closeSync(directory)
    await waitFor('the link to be seen', () => lstatSync(mount.at('d')).isSymbolicLink())
  })
})
