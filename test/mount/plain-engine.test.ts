import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, posix } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createLogger, systemClock } from '../../src/base/index.ts'
import { createPlainEngine, removePlainLink } from '../../src/mount/index.ts'
import { placePlainLink } from '../../src/mount/plain-link.ts'
import { tempDir } from '../support/index.ts'
import { localStore } from './local-store.ts'
import { plainMount } from './plain-mount.ts'

const DOWNLOADER = fileURLToPath(new URL('./downloader.py', import.meta.url))

function replaceDirectory(path: string, make: () => void): void {
  rmdirSync(path)
  make()
}

describe('the link of a mount without an engine', () => {
  it('takes the place of an empty directory, which comes back', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    assert.equal(readlinkSync(mount.mountpoint), mount.tree.paths.tree)
    // By which the next daemon knows that a power cut may have left stamps that are too old.
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')
    assert.equal(readFileSync(mount.tree.paths.unclean, 'utf8'), `none ${bootId}`)
    assert.equal(await mount.drain(), 0)
    const stats = lstatSync(mount.mountpoint)
    assert.ok(stats.isDirectory())
    assert.equal(stats.mode & 0o777, 0o750)
    assert.deepEqual(readdirSync(mount.mountpoint), [])
    assert.deepEqual(readdirSync(mount.base).toSorted(), ['mnt', 'store'])
  })

  it('is made where nothing is, and over the link of a daemon that died', async (t) => {
    const mount = plainMount(t)
    rmdirSync(mount.mountpoint)
    symlinkSync(join(mount.store, 'tree'), mount.mountpoint)
    await mount.start()
    assert.deepEqual(mount.exits, [])
    assert.ok(lstatSync(mount.mountpoint).isSymbolicLink())
    await mount.drain()
    assert.ok(lstatSync(mount.mountpoint).isDirectory())
  })

  for (const [what, make] of [
    ['a directory that is not empty', (path: string) => writeFileSync(join(path, 'file'), 'mine')],
    ['a file', (path: string) => replaceDirectory(path, () => writeFileSync(path, 'mine'))],
    ['a link to elsewhere', (path: string) => replaceDirectory(path, () => symlinkSync('/', path))],
  ] as const) {
    it(`is not made over ${what}, and the store is as clean as before`, async (t) => {
      const { paths, tree } = await localStore(t)
      const mountpoint = join(tempDir(t), 'mnt')
      mkdirSync(mountpoint)
      make(mountpoint)
      const before = lstatSync(mountpoint).ino
      const logger = createLogger({ level: 'error', write: () => undefined })
      const engine = createPlainEngine({ tree, mountpoint, logger, clock: systemClock })
      assert.throws(() => engine.ready(), { code: 'mount-failed', exitCode: 1 })
      assert.equal(lstatSync(mountpoint).ino, before)
      assert.deepEqual(readdirSync(dirname(mountpoint)), ['mnt'])
      await engine.failed(1, 'no link')
      assert.equal(await engine.ended, undefined)
      assert.ok(!existsSync(paths.unclean))
    })
  }

  it('leaves alone what somebody else put in its place, and that ends the mount', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    writeFileSync(mount.at('file'), 'content')
    unlinkSync(mount.mountpoint)
    mkdirSync(mount.mountpoint)
    writeFileSync(mount.at('theirs'), 'theirs')
    assert.equal(await mount.exited(), 0)
    assert.equal(readFileSync(mount.at('theirs'), 'utf8'), 'theirs')
    assert.ok(!existsSync(mount.at('file')))
    assert.equal(readFileSync(join(mount.store, 'tree/file'), 'utf8'), 'content')
  })

  it('is taken away by the command line when its daemon is dead', (t) => {
    // As long as a name can be.
    const mountpoint = join(tempDir(t), 'ü'.repeat(127))
    symlinkSync('/some/tree', mountpoint)
    assert.ok(!removePlainLink(mountpoint, '/another/tree'))
    assert.equal(readlinkSync(mountpoint), '/some/tree')
    assert.ok(removePlainLink(mountpoint, '/some/tree'))
    // What it was is not known: nobody else is let in.
    assert.equal(lstatSync(mountpoint).mode & 0o777, 0o700)
    assert.ok(!removePlainLink(mountpoint, '/some/tree'))
  })

  it('clears away what a process left beside it that was killed between two steps', (t) => {
    const base = tempDir(t)
    const mountpoint = join(base, 'mnt')
    mkdirSync(mountpoint)
    placePlainLink(mountpoint, '/some/tree')
    // Killed after the swap, before the empty directory went; then at the other swap.
    const key = createHash('sha256').update('/some/tree').digest('hex').slice(0, 16)
    const aside = join(base, `.modelcache-${key}`)
    mkdirSync(aside)
    assert.ok(removePlainLink(mountpoint, '/some/tree'))
    assert.deepEqual(readdirSync(base), ['mnt'])
    symlinkSync('/some/tree', aside)
    placePlainLink(mountpoint, '/some/tree')
    assert.deepEqual(readdirSync(base), ['mnt'])
    assert.equal(readlinkSync(mountpoint), '/some/tree')

    // What somebody put there under such a name is his.
    writeFileSync(aside, 'theirs')
    assert.throws(() => removePlainLink(mountpoint, '/some/tree'), { code: 'EEXIST' })
    assert.equal(readlinkSync(mountpoint), '/some/tree')
    assert.equal(readFileSync(aside, 'utf8'), 'theirs')
  })
})

describe('a commit without an engine', () => {
  it('has what programs wrote, and hashes again only what changed', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    mkdirSync(mount.at('dir'))
    writeFileSync(mount.at('dir/one'), 'one')
    writeFileSync(mount.at('two'), 'two')
    symlinkSync('dir/one', mount.at('link'))
    const first = await mount.commit()
    assert.equal(first.dirty, 0)
    const names = await mount.namesOf(first.tree)
    assert.deepEqual([...names.keys()].toSorted(), ['dir', 'dir/one', 'link', 'two'])
    assert.equal(await mount.hashedBytes(), 6)
    assert.equal((await mount.commit()).root, first.root)
    appendFileSync(mount.at('two'), '!')
    renameSync(mount.at('dir/one'), mount.at('dir/uno'))
    const second = await mount.commit()
    assert.notEqual(second.tree, first.tree)
    assert.ok((await mount.namesOf(second.tree)).has('dir/uno'))
    // The renamed file has another ctime, and nobody heard why.
    assert.equal(await mount.hashedBytes(), 6 + 4 + 3)
  })

  it('frees what was removed', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    writeFileSync(mount.at('file'), 'content')
    await mount.commit()
    const objects = join(mount.store, 'objects')
    assert.equal(readdirSync(objects).length, 1)
    rmSync(mount.at('file'))
    await mount.commit()
    assert.deepEqual(readdirSync(objects), [])
  })

  it('keeps a file that is open for writing as it was, and takes it later', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    writeFileSync(mount.at('file'), 'old')
    const before = await mount.commit()
    const child = spawn('sh', [
      '-c',
      'exec 3>>"$0"; echo new >&3; echo open; read line',
      mount.at('file'),
    ])
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    const during = await mount.commit()
    assert.equal(during.tree, before.tree)
    assert.deepEqual(
      during.open.map(({ path }) => path),
      ['file'],
    )
    child.stdin.end('\n')
    await once(child, 'exit')
    const after = await mount.commit()
    assert.notEqual(after.tree, before.tree)
    assert.equal(after.dirty, 0)
  })

  it('is made of everything again by the next mount, without hashing what is as it was', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    writeFileSync(mount.at('kept'), 'kept')
    writeFileSync(mount.at('changed'), 'before')
    const { root } = await mount.commit()
    assert.equal(await mount.drain(), 0)
    assert.ok(existsSync(join(mount.store, 'unclean')))
    appendFileSync(join(mount.store, 'tree/changed'), ' and after')
    mount.exits.length = 0
    await mount.start()
    const next = await mount.commit()
    assert.notEqual(next.root, root)
    assert.equal(await mount.hashedBytes(), 'before and after'.length)
  })

  it('shows whole downloads only, while programs go on', async (t) => {
    const mount = plainMount(t)
    await mount.start()
    const downloads = process.env.MODELCACHE_TEST_LONG === '1' ? 3000 : 300
    const child = spawn('python3', [DOWNLOADER, mount.mountpoint, String(downloads)], {
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    const exit = once(child, 'exit')
    let roots = 0
    while (child.exitCode === null) {
      const { tree } = await mount.commit()
      roots += 1
      const names = await mount.namesOf(tree)
      for (const [path, target] of names) {
        assert.ok(!path.endsWith('.incomplete'), path)
        if (target !== '') {
          const to = posix.join(dirname(path), target)
          assert.ok(names.has(to), `${path} dangles to ${basename(to)} in root ${roots}`)
        }
      }
    }
    assert.deepEqual(await exit, [0, null])
    const names = await mount.namesOf((await mount.commit()).tree)
    assert.equal([...names].filter(([, target]) => target !== '').length, downloads)
    assert.ok(roots > 1)
  })
})
