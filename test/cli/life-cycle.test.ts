import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { isAlive, mountpointsBelow, nodePath, start, waitFor } from '../support/index.ts'
import { MAIN } from './command.ts'
import { type LiveShell, liveShell } from './live-mount.ts'

describe('mount and unmount', () => {
  it('make a directory, then a root, and leave no mount and no process', async (t) => {
    const live = liveShell(t)
    const { stdout } = await live.mount()
    assert.equal(stdout, `mounted ${live.mountpoint}\n`)
    writeFileSync(join(live.mountpoint, 'model.bin'), 'weights')
    assert.equal(readFileSync(join(live.mountpoint, 'model.bin'), 'utf8'), 'weights')
    const { pid, keeperPid, state, engine } = await live.status()
    assert.deepEqual([state, engine], ['serving', 'native'])

    const unmounted = await live.run(['unmount', 'm'])
    assert.match(unmounted.stdout, /^bafyrei[a-z2-7]+\n$/)
    assert.equal(unmounted.stderr, '')
    assert.equal(unmounted.code, 0)
    assert.deepEqual(mountpointsBelow(live.base), [])
    assert.deepEqual([isAlive(pid), isAlive(keeperPid)], [false, false])
    assert.deepEqual(readdirSync(live.mountpoint), [])
    assert.equal(existsSync(join(live.store, 'unclean')), false)

    const again = await live.run(['unmount', 'm'])
    assert.deepEqual([again.code, again.stdout, again.stderr], [0, '', '"m" is not mounted\n'])
  })

  it('find again what was there', async (t) => {
    const live = liveShell(t)
    await live.mount()
    mkdirSync(join(live.mountpoint, 'hub/empty'), { recursive: true })
    writeFileSync(join(live.mountpoint, 'hub/a'), 'one')
    const first = await live.run(['unmount', 'm', '--json'])
    await live.mount()
    assert.equal(readFileSync(join(live.mountpoint, 'hub/a'), 'utf8'), 'one')
    assert.deepEqual(readdirSync(join(live.mountpoint, 'hub')).sort(), ['a', 'empty'])
    const second = await live.run(['unmount', 'm', '--json'])
    assert.equal(JSON.parse(second.stdout).tree, JSON.parse(first.stdout).tree)
  })

  it('make the mountpoint, and work in one with every kind of character', async (t) => {
    const live = liveShell(t, 'a b,c#d\\e\'f"ü$(x)')
    await live.mount()
    writeFileSync(join(live.mountpoint, 'x'), 'x')
    const { mountpoint } = await live.status()
    assert.equal(mountpoint, live.mountpoint)
    assert.equal((await live.run(['unmount', live.mountpoint])).code, 0)
  })

  it('work with a mountpoint and a store of very long paths', async (t) => {
    const long = Array.from({ length: 6 }, (_, n) => `${n}`.repeat(200)).join('/')
    const live = liveShell(t, `${long}/m`)
    const store = join(live.base, `s/${long}`)
    const mounted = await live.run(['mount', live.mountpoint, '--store', store])
    assert.equal(mounted.stderr, '')
    writeFileSync(join(live.mountpoint, 'x'), 'x')
    await live.status()
    assert.equal((await live.run(['unmount', live.mountpoint])).code, 0)
  })

  it('keep the control socket to the user', async (t) => {
    const live = liveShell(t)
    await live.mount()
    for (const name of ['control.sock', 'keeper.sock']) {
      assert.equal(statSync(join(live.store, 'run', name)).mode & 0o777, 0o600)
    }
  })
})

describe('a mountpoint that is mounted already', () => {
  it('is refused, and welcome to `npm start`', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const again = await live.run(['mount', 'm', '--store', 's'])
    assert.match(
      again.stderr,
      /\/m is mounted already, by engine native on store .*\/s; unmount it/,
    )
    assert.deepEqual([again.code, again.stdout], [1, ''])
    const welcome = await live.run(['mount', 'm', '--store', 's', '--welcome'])
    assert.match(welcome.stdout, /is mounted already: an ordinary directory/)
    assert.match(welcome.stdout, new RegExp(`export HF_HOME='${live.mountpoint}'`))
    assert.equal(welcome.code, 0)
    assert.equal(mountpointsBelow(live.mountpoint).length, 1)
  })

  it('does not lend its store to a second one', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const { keeperPid } = await live.status()
    const second = await live.run(['mount', 'm2', '--store', 's'])
    assert.match(
      second.stderr,
      new RegExp(`in use: mounted on .*/m by process ${keeperPid}; unmount`),
    )
    assert.equal(second.code, 1)
    assert.equal(existsSync(join(live.base, 'm2')), false)
  })
})

describe('a dead keeper', () => {
  it('is repaired by the next mount, never stacked upon, and nothing closed is lost', async (t) => {
    const live = liveShell(t)
    await live.mount()
    writeFileSync(join(live.mountpoint, 'kept'), 'kept')
    // The kernel goes on answering this from its cache when nobody else answers any more.
    statSync(live.mountpoint)
    await live.crash()
    assert.equal((await live.status()).state, 'stale')
    const doctor = await live.run(['doctor'])
    assert.match(doctor.stdout, /warn +mounts +.*\/m is stale: its keeper is dead/)

    const { stderr } = await live.mount()
    assert.match(stderr, /its keeper is dead; takes the stale mount away and mounts again/)
    assert.equal(mountpointsBelow(live.mountpoint).length, 1)
    assert.equal(readFileSync(join(live.mountpoint, 'kept'), 'utf8'), 'kept')
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })

  it('is taken away from another mountpoint of its store too', async (t) => {
    const live = liveShell(t)
    await live.mount()
    await live.crash()
    const { code, stderr } = await live.run(['mount', 'm2', '--store', 's'])
    assert.match(stderr, /\/m: its keeper is dead; takes the stale mount away/)
    assert.equal(code, 0)
    assert.deepEqual(mountpointsBelow(live.base), [join(live.base, 'm2')])
    assert.equal((await live.run(['unmount', 'm2'])).code, 0)
  })

  it('is unmounted with exit code 3 while something may be uncommitted', async (t) => {
    const live = liveShell(t)
    await live.mount()
    writeFileSync(join(live.mountpoint, 'kept'), 'kept')
    await live.crash()
    const { code, stdout, stderr } = await live.run(['unmount', 'm'])
    assert.match(stderr, /it had died; what was not committed is kept in .*\/s for the next mount/)
    assert.deepEqual([code, stdout], [3, ''])
    assert.deepEqual(mountpointsBelow(live.base), [])
  })
})

describe('a keeper that does not answer', () => {
  it('is reported, not waited for without end, and taken away by --force', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const { keeperPid } = await live.status()
    process.kill(keeperPid, 'SIGSTOP')
    try {
      const status = await live.run(['status', 'm'])
      assert.match(status.stdout, /state +unknown: its keeper does not answer/)
      assert.match((await live.run(['doctor'])).stdout, /warn +mounts +.*\/m does not answer/)
      const polite = await live.run(['unmount', 'm'])
      assert.match(polite.stderr, /its keeper does not answer, and the mount is not dead; --force/)
      assert.equal(polite.code, 1)
      assert.equal((await live.run(['unmount', 'm', '--force'])).code, 3)
      assert.deepEqual(mountpointsBelow(live.base), [])
    } finally {
      process.kill(keeperPid, 'SIGCONT')
    }
    await waitFor('the keeper to end with its mount', () => !isAlive(keeperPid))
  })
})

describe('a busy mount', () => {
  /** A process that stands in the mount. */
  async function stander(t: TestContext, live: LiveShell) {
    const words = ['-c', 'cd "$0" && echo ready && exec sleep 300', live.mountpoint]
    const running = start('sh', words, { env: live.env })
    t.after(() => running.kill())
    await waitFor('the process to stand there', () => running.output().includes('ready'))
    return running
  }

  it('names who holds it, and goes on serving', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const running = await stander(t, live)
    const busy = await live.run(['unmount', 'm', '--timeout', '1'])
    assert.match(busy.stderr, /unmount .*\/m: it is busy; end what holds it, or use --force:/)
    assert.match(busy.stderr, new RegExp(`process ${running.pid} \\(s.*\\): working directory`))
    assert.deepEqual([busy.code, busy.stdout], [1, ''])
    writeFileSync(join(live.mountpoint, 'still'), 'here')
    await running.kill()
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })

  it('is taken away by --force', async (t) => {
    const live = liveShell(t)
    await live.mount()
    await stander(t, live)
    const { code } = await live.run(['unmount', 'm', '--force', '--timeout', '5'])
    assert.equal(code, 0)
    assert.deepEqual(mountpointsBelow(live.base), [])
  })
})

describe('a mount that ends by signal', () => {
  it('unmounts at SIGTERM to the keeper', async (t) => {
    const live = liveShell(t)
    await live.mount()
    writeFileSync(join(live.mountpoint, 'x'), 'x')
    const { keeperPid } = await live.status()
    process.kill(keeperPid, 'SIGTERM')
    await waitFor('the keeper to end', () => !isAlive(keeperPid))
    assert.deepEqual(mountpointsBelow(live.base), [])
    assert.match(readFileSync(join(live.store, 'commits'), 'utf8'), /"root"/)
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`in the foreground unmounts at ${signal} and exits 0`, async (t) => {
      const live = liveShell(t)
      const words = [MAIN, 'mount', 'm', '--store', 's', '--foreground']
      const running = start(nodePath(), words, { env: live.env, cwd: live.base })
      t.after(() => running.kill())
      await waitFor('the mount', () => running.output().includes('mounted'))
      await live.status()
      writeFileSync(join(live.mountpoint, 'x'), 'x')
      running.child.kill(signal)
      const { code } = await running.finished
      assert.equal(code, 0)
      assert.deepEqual(mountpointsBelow(live.base), [])
    })
  }
})

describe('a read-only mount', () => {
  it('refuses every change with EROFS and can be unmounted', async (t) => {
    const live = liveShell(t)
    await live.mount()
    writeFileSync(join(live.mountpoint, 'a'), 'a')
    await live.run(['unmount', 'm'])
    await live.mount('--read-only')
    assert.equal(readFileSync(join(live.mountpoint, 'a'), 'utf8'), 'a')
    assert.throws(() => writeFileSync(join(live.mountpoint, 'b'), 'b'), { code: 'EROFS' })
    assert.throws(() => mkdirSync(join(live.mountpoint, 'd')), { code: 'EROFS' })
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })
})

describe('many mounts and unmounts', () => {
  const cycles = process.env.MODELCACHE_TEST_LONG === '1' ? 100 : 10

  it(`${cycles} times leave no process, mount or file behind`, async (t) => {
    const live = liveShell(t)
    await live.mount()
    await live.run(['unmount', 'm'])
    const before = filesOf(live.store)
    const pids = new Set<number>()
    for (let cycle = 0; cycle < cycles; cycle += 1) {
      await live.mount()
      const { pid, keeperPid } = await live.status()
      pids.add(pid).add(keeperPid)
      assert.equal((await live.run(['unmount', 'm'])).code, 0)
    }
    assert.deepEqual(mountpointsBelow(live.base), [])
    assert.deepEqual([...pids].filter(isAlive), [])
    assert.deepEqual(filesOf(live.store), before)
  })
})

/** What is in a store, without its logs and the numbered files of its database. */
function filesOf(store: string): string[] {
  return readdirSync(store, { recursive: true, encoding: 'utf8' })
    .filter((path) => !/^(log|db)\//.test(path))
    .sort()
}
