import assert from 'node:assert/strict'
import { chmodSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ordinaryUser, withMount } from '../support/index.ts'
import { shell } from './command.ts'
import { runWithNullForFuse } from './hidden-fuse.ts'
import { liveShell } from './live-mount.ts'

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' }

describe('a machine with something else at /dev/fuse', needsRoot, () => {
  it('is one without FUSE to auto and to doctor', async (t) => {
    const live = liveShell(t)
    const { code, stderr } = await runWithNullForFuse(live, ['mount', 'm', '--store', 's'])
    assert.match(stderr, /^engine none: \/dev\/fuse is not the device of FUSE/)
    assert.equal(code, 0)
    assert.equal(lstatSync(live.mountpoint).isSymbolicLink(), true)
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
    const { stdout } = await runWithNullForFuse(live, ['doctor'])
    assert.match(stdout, /^warn +none .*\n +for an engine with FUSE: take away what lies there/m)
    assert.match(stdout, /^warn +passthrough +off: only the native engine has it/m)
  })

  for (const engine of ['native', 'fuse-native']) {
    it(`is refused with exit code 5 by --engine ${engine}`, async (t) => {
      const sh = shell(t)
      const { code, stderr } = await runWithNullForFuse(sh, ['mount', 'm', '--engine', engine])
      assert.match(
        stderr,
        /\/dev\/fuse is not the device of FUSE \(character device 10:229\): take/,
      )
      assert.equal(code, 5)
      assert.deepEqual(readdirSync(sh.base), ['home'])
    })
  }
})

describe('a mount of another user', needsRoot, () => {
  it('is listed by status and doctor as one whose state is unknown', async (t) => {
    const { mountpoint } = await withMount(t)
    const { run } = ordinaryUser(t, { seesMounts: true })
    const json = await run('$M status --json')
    assert.equal(json.code, 0, json.stderr)
    const list = JSON.parse(json.stdout) as { mountpoint: string; state: string; partial: string }[]
    const own = list.find((one) => one.mountpoint === mountpoint)
    assert.deepEqual([own?.state, own?.partial], ['unknown', 'belongs to another user'])
    const page = await run('$M status; $M doctor')
    assert.match(page.stdout, /state +unknown: belongs to another user/)
    assert.ok(page.stdout.includes(`${mountpoint}: its state is unknown`), page.stdout)
  })
})

describe('status', () => {
  it('counts directories of which it does not know the names yet', async (t) => {
    const origin = await withMount(t)
    mkdirSync(join(origin.mountpoint, 'd'))
    writeFileSync(join(origin.mountpoint, 'd/x'), 'x')
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const live = liveShell(t)
    await live.mount('--from', root, '--peer', address)
    assert.equal((await live.status()).tree.unlistedDirectories, 1)
    const page = await live.run(['status', 'm'])
    assert.match(page.stdout, /1 directory not listed yet, with all in it remote and not counted/)
    assert.deepEqual(readdirSync(join(live.mountpoint, 'd')), ['x'])
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })
})

describe('a mountpoint with a long path', () => {
  it('is refused by fuse-native, and taken by the native engine', async (t) => {
    const live = liveShell(t)
    const deep = join(...Array.from({ length: 5 }, () => 'd'.repeat(200)), 'm')
    mkdirSync(join(live.base, deep), { recursive: true })
    const bytes = Buffer.byteLength(join(live.base, deep))
    const words = ['mount', deep, '--store', 's']
    const refused = await live.run([...words, '--engine', 'fuse-native'])
    assert.ok(
      refused.stderr.includes(`path has ${bytes} bytes, and fuse-native takes at most 1023`),
    )
    assert.match(refused.stderr, /give a shorter path, or use --engine native/)
    assert.equal(refused.code, 5)
    assert.equal((await live.run(words)).code, 0)
    assert.equal((await live.run(['unmount', deep])).code, 0)
  })
})

describe('unmount', () => {
  it('answers in JSON also where nothing is mounted, and tells apart what it is not', async (t) => {
    const sh = shell(t)
    mkdirSync(join(sh.base, 'm'))
    const plain = await sh.run(['unmount', 'm', '--json'])
    assert.equal(plain.code, 0)
    assert.deepEqual(JSON.parse(plain.stdout), {
      root: '',
      tree: '',
      dirty: 0,
      open: [],
      withheld: [],
    })
    const missing = await sh.run(['unmount', 'missing'])
    assert.match(missing.stderr, /"missing" does not exist/)
    const foreign = await sh.run(['unmount', '/proc'])
    assert.match(foreign.stderr, /"\/proc" is no mount of modelcache/)
  })
})

describe('a folder that is named as the store', () => {
  it('is refused with exit code 2 where it is no store, or others may enter it', async (t) => {
    const sh = shell(t)
    mkdirSync(join(sh.base, 'full'), { mode: 0o755 })
    writeFileSync(join(sh.base, 'full/mine'), 'mine')
    const full = await sh.run(['mount', 'm', '--store', 'full'])
    assert.match(full.stderr, /--store ".*full": it is not empty, and no store of modelcache/)
    assert.equal(full.code, 2)

    mkdirSync(join(sh.base, 'open to all'))
    chmodSync(join(sh.base, 'open to all'), 0o755)
    const open = await sh.run(['mount', 'm', '--store', 'open to all'])
    // A remedy can be pasted.
    assert.match(open.stderr, /others may enter it; close it with `chmod 700 '.*open to all'`/)
    assert.equal(open.code, 2)
    assert.deepEqual(readdirSync(join(sh.base, 'full')), ['mine'])
  })
})
