import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { nodePath, start, withMount } from '../support/index.ts'
import { MAIN } from './command.ts'
import { liveShell } from './live-mount.ts'

describe('a mount without an engine', () => {
  it('is found by its name, by its store’s path, by links to it, and in the list', async (t) => {
    const live = liveShell(t, 'm', 'none')
    await live.mount()
    assert.equal(readlinkSync(live.mountpoint), join(live.store, 'tree'))
    writeFileSync(join(live.mountpoint, 'x'), 'x')
    await live.run(['commit', 'm'])
    symlinkSync(live.mountpoint, join(live.base, 'link'))
    const cids = await live.run(['cid', 'm/x', 's/tree/x', 'link/x'])
    const lines = cids.stdout.trimEnd().split('\n')
    assert.deepEqual(new Set(lines.map((line) => line.split(' ')[0])).size, 1)
    for (const place of ['m', 'link', 's/tree']) {
      const { mountpoint } = JSON.parse((await live.run(['status', place, '--json'])).stdout)
      assert.equal(mountpoint, live.mountpoint)
    }
    const list = JSON.parse((await live.run(['status', '--json'])).stdout)
    const own = list.filter((one: { mountpoint: string }) => one.mountpoint === live.mountpoint)
    assert.equal(own.length, 1)
    const env = await live.run(['env', 'm', '--json'])
    assert.equal(JSON.parse(env.stdout).HF_HOME, live.mountpoint)
    assert.equal((await live.run(['unmount', 's/tree'])).code, 0)
    assert.equal(lstatSync(live.mountpoint).isDirectory(), true)
    assert.deepEqual(readdirSync(join(live.base, 'home/.local/state/modelcache/mounts')).length, 1)
    await live.run(['status'])
    assert.deepEqual(readdirSync(join(live.base, 'home/.local/state/modelcache/mounts')), [])
  })

  it('is never busy: what programs have open stays theirs', async (t) => {
    const live = liveShell(t, 'm', 'none')
    await live.mount()
    const fd = openSync(join(live.mountpoint, 'growing'), 'w+')
    try {
      writeFileSync(fd, 'before ')
      const { code, stderr } = await live.run(['unmount', 'm'])
      assert.match(stderr, /not settled: growing/)
      assert.equal(code, 3)
      writeFileSync(fd, 'after')
    } finally {
      closeSync(fd)
    }
    await live.mount()
    assert.equal(readFileSync(join(live.mountpoint, 'growing'), 'utf8'), 'before after')
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })

  it('serves a command that starts inside it', async (t) => {
    const live = liveShell(t, 'm', 'none')
    await live.mount()
    const words = [MAIN, 'run', '--mount', '.', '--', 'sh', '-c', 'echo x > "$HF_HOME/y"']
    const running = start(nodePath(), words, { env: live.env, cwd: live.mountpoint })
    assert.equal((await running.finished).code, 0)
    assert.equal(readFileSync(join(live.mountpoint, 'y'), 'utf8'), 'x\n')
    assert.equal((await live.status()).dirty.files, 0)
  })

  it('is made and taken away by run', async (t) => {
    const live = liveShell(t)
    const script = 'printf %s "$HF_HOME" > "$HF_HOME/where"; exit 7'
    const words = ['run', '--mount', 'm', '--store', 's', '--engine', 'none', '--', 'sh', '-c']
    assert.equal((await live.run([...words, script])).code, 7)
    assert.equal(live.isMounted(), false)
    assert.equal(readFileSync(join(live.store, 'tree/where'), 'utf8'), live.mountpoint)
    assert.match(readFileSync(join(live.store, 'commits'), 'utf8'), /"root"/)
  })

  it('gives the mountpoint back as it was, also when its daemon is dead', async (t) => {
    const live = liveShell(t, 'm', 'none')
    const isRoot = process.getuid?.() === 0
    const wanted = isRoot
      ? [0o1770, 65_534, 65_533]
      : [0o1770, process.getuid?.(), process.getgid?.()]
    if (isRoot) chownSync(live.mountpoint, 65_534, 65_533)
    chmodSync(live.mountpoint, 0o1770)
    const now = () => {
      const { mode, uid, gid } = lstatSync(live.mountpoint)
      return [mode & 0o7777, uid, gid]
    }
    assert.deepEqual(now(), wanted)
    await live.mount()
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
    assert.deepEqual(now(), wanted)
    await live.mount()
    await live.crash()
    assert.equal((await live.run(['unmount', 'm'])).code, 3)
    assert.deepEqual(now(), wanted)
    // A link that a dead daemon left is taken over, and what was there before it is not forgotten.
    await live.mount()
    await live.crash()
    await live.mount()
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
    assert.deepEqual(now(), wanted)
    assert.deepEqual(
      readdirSync(live.base).filter((name) => name.startsWith('.modelcache')),
      [],
    )
  })

  it('is no link that somebody made to the same files', async (t) => {
    const live = liveShell(t, 'm', 'none')
    await live.mount()
    symlinkSync(join(live.store, 'tree'), join(live.base, 'mine'))
    await live.run(['unmount', 'm'])
    const { code, stderr } = await live.run(['unmount', 'mine'])
    assert.deepEqual([code, stderr], [0, '"mine" is not mounted\n'])
    assert.equal(readlinkSync(join(live.base, 'mine')), join(live.store, 'tree'))
  })

  it('is taken away from another mountpoint of its store when its daemon is dead', async (t) => {
    const live = liveShell(t, 'm', 'none')
    await live.mount()
    await live.crash()
    const { code, stderr } = await live.run(['mount', 'm2', '--store', 's', '--engine', 'none'])
    assert.match(stderr, /\/m: its daemon is dead; takes the stale mount away/)
    assert.equal(code, 0)
    assert.equal(live.isMounted(), false)
    assert.equal(lstatSync(join(live.base, 'm2')).isSymbolicLink(), true)
    assert.equal((await live.run(['unmount', 'm2'])).code, 0)
  })
})

describe('after a mount without an engine', () => {
  it('no row is trusted if the machine has started anew since, and all are if it has not', async (t) => {
    const live = liveShell(t)
    await live.mount('--engine', 'none')
    writeFileSync(join(live.mountpoint, 'model'), 'weights')
    const root = (await live.run(['commit', 'm'])).stdout
    await live.run(['unmount', 'm'])
    const mark = join(live.store, 'unclean')
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')
    assert.equal(readFileSync(mark, 'utf8'), `none ${bootId}`)
    // What has a file open since then may write as long as the machine runs.
    await live.mount('--engine', 'native')
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
    assert.equal(readFileSync(mark, 'utf8'), `none ${bootId}`)

    // A power cut gives a file its old times and new content: seen from here, another start.
    writeFileSync(mark, `none ${bootId.replace(/^[0-9a-f]{8}/, '00000000')}`)
    for (const hashedBytes of ['weights'.length, 0]) {
      await live.mount('--engine', 'native')
      assert.equal((await live.run(['commit', 'm'])).stdout, root)
      assert.equal((await live.status()).settle.hashedBytes, hashedBytes)
      assert.equal((await live.run(['unmount', 'm'])).code, 0)
    }
  })
})

describe('a mount without an engine, of files that are still remote', () => {
  it('is refused with the list of them, and leaves the mountpoint as it was', async (t) => {
    const origin = await withMount(t)
    mkdirSync(join(origin.mountpoint, 'sub'))
    writeFileSync(join(origin.mountpoint, 'sub/model'), 'weights')
    writeFileSync(join(origin.mountpoint, 'other'), 'other weights')
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const live = liveShell(t)
    await live.mount('--from', root, '--peer', address)
    assert.deepEqual(readdirSync(join(live.mountpoint, 'sub')), ['model'])
    assert.equal((await live.run(['unmount', 'm'])).code, 0)

    const words = ['mount', 'm', '--store', 's', '--engine', 'none']
    const { code, stdout, stderr } = await live.run([...words, '--gate', 'closed'])
    assert.match(stderr, /2 files or directories are still remote.*--peer/)
    assert.match(stderr, /^ {2}(sub\/model|other) \(.*gate is closed by --gate closed\)$/m)
    assert.deepEqual([code, stdout], [5, ''])
    assert.equal(lstatSync(live.mountpoint).isDirectory(), true)
    assert.deepEqual(readdirSync(join(live.store, 'run')), [])
    assert.equal(existsSync(join(live.store, 'unclean')), false)

    const fetched = await live.run(words)
    assert.match(fetched.stderr, /fetches all of it first: 2 of 2 files/)
    assert.equal(fetched.code, 0)
    assert.equal(readFileSync(join(live.mountpoint, 'sub/model'), 'utf8'), 'weights')
    const { tree, settle } = await live.status()
    assert.deepEqual([tree.placeholders, settle.hashedBytes], [0, 0])
    const commit = JSON.parse((await live.run(['commit', 'm', '--json'])).stdout)
    assert.equal(commit.root, root)
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })

  it('begins from a root when its peer is there, and not when it is not', async (t) => {
    const origin = await withMount(t)
    mkdirSync(join(origin.mountpoint, 'a/b'), { recursive: true })
    writeFileSync(join(origin.mountpoint, 'a/b/model'), Buffer.alloc(3 * 1024 * 1024, 7))
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const live = liveShell(t, 'm', 'none')
    await live.mount('--from', root, '--peer', address)
    assert.equal(lstatSync(join(live.mountpoint, 'a/b/model')).size, 3 * 1024 * 1024)
    assert.equal((await live.status()).tree.missingBytes, 0)
    assert.equal((await live.run(['unmount', 'm', '--json'])).code, 0)

    await origin.unmount()
    const words = ['mount', 'm2', '--store', 's2', '--engine', 'none', '--from', root]
    const { code, stderr } = await live.run([...words, '--peer', address, '--fetch-deadline', '1'])
    assert.match(stderr, new RegExp(root))
    assert.notEqual(code, 0)
    assert.equal(existsSync(join(live.base, 'm2')), false)
  })
})
