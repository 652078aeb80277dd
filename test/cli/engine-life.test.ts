import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { type EngineName, isAlive, nodePath, start, waitFor } from '../support/index.ts'
import { MAIN } from './command.ts'
import { liveShell } from './live-mount.ts'

/** The native engine's life is told in life-cycle.test.ts; here is what all have in common. */
const ENGINES: readonly EngineName[] = ['native', 'fuse-native', 'none']
/** Those in the daemon's own process. */
const IN_DAEMON: readonly EngineName[] = ['fuse-native', 'none']

const serverOf = (engine: EngineName) => (engine === 'native' ? 'keeper' : 'daemon')

for (const engine of ENGINES) {
  describe(`a mount with engine ${engine}`, () => {
    it('is mounted, written, committed, unmounted and mounted again', async (t) => {
      const live = liveShell(t, 'm', engine)
      assert.equal((await live.mount()).stdout, `mounted ${live.mountpoint}\n`)
      mkdirSync(join(live.mountpoint, 'hub'))
      writeFileSync(join(live.mountpoint, 'hub/model.bin'), 'weights')
      const { state, engine: shown, pid, keeperPid, ...status } = await live.status()
      assert.deepEqual([state, shown, status.mountpoint], ['serving', engine, live.mountpoint])
      assert.equal(pid === keeperPid, engine !== 'native')
      const page = await live.run(['status', 'm'])
      assert.match(page.stdout, new RegExp(`^  engine +${engine}`, 'm'))

      const { stdout: root } = await live.run(['commit', 'm'])
      assert.match(root, /^bafyrei[a-z2-7]+\n$/)
      const cid = await live.run(['cid', 'm/hub/model.bin'])
      assert.match(cid.stdout, /^bafkrei[a-z2-7]+\n$/)

      const unmounted = await live.run(['unmount', 'm'])
      assert.deepEqual([unmounted.code, unmounted.stdout, unmounted.stderr], [0, root, ''])
      assert.equal(live.isMounted(), false)
      assert.deepEqual([isAlive(pid), isAlive(keeperPid)], [false, false])
      assert.deepEqual(readdirSync(live.mountpoint), [])
      const again = await live.run(['unmount', 'm'])
      assert.deepEqual([again.code, again.stderr], [0, '"m" is not mounted\n'])

      await live.mount()
      assert.equal(readFileSync(join(live.mountpoint, 'hub/model.bin'), 'utf8'), 'weights')
      assert.equal((await live.run(['unmount', 'm'])).stdout, root)
    })

    it('that died is shown as stale and taken over by the next mount', async (t) => {
      const live = liveShell(t, 'm', engine)
      await live.mount()
      writeFileSync(join(live.mountpoint, 'kept'), 'kept')
      statSync(live.mountpoint)
      await live.crash()
      const { state, engine: shown } = await live.status()
      assert.deepEqual([state, shown], ['stale', engine])
      const stale = new RegExp(`warn +mounts +.*/m is stale: its ${serverOf(engine)} is dead`)
      assert.match((await live.run(['doctor'])).stdout, stale)

      const { stderr } = await live.mount()
      assert.match(stderr, /is dead; takes the stale mount away and mounts again/)
      assert.equal(readFileSync(join(live.mountpoint, 'kept'), 'utf8'), 'kept')
      const commit = await live.run(['commit', 'm', '--json'])
      assert.equal(JSON.parse(commit.stdout).dirty, 0)
      assert.equal((await live.run(['unmount', 'm'])).code, 0)
    })

    it('that died is unmounted with exit code 3, and what was written is kept', async (t) => {
      const live = liveShell(t, 'm', engine)
      await live.mount()
      writeFileSync(join(live.mountpoint, 'kept'), 'kept')
      await live.crash()
      const { code, stdout, stderr } = await live.run(['unmount', 'm'])
      assert.match(
        stderr,
        /it had died; what was not committed is kept in .*\/s for the next mount/,
      )
      assert.deepEqual([code, stdout], [3, ''])
      assert.equal(live.isMounted(), false)
      assert.deepEqual(readdirSync(live.mountpoint), [])
      assert.equal(readFileSync(join(live.store, 'tree/kept'), 'utf8'), 'kept')
      assert.equal((await live.run(['status', '--json'])).stdout.includes(live.base), false)
    })
  })
}

for (const engine of IN_DAEMON) {
  describe(`a daemon with engine ${engine} in it`, () => {
    it('commits and unmounts at SIGTERM, and at SIGINT in the foreground', async (t) => {
      const live = liveShell(t, 'm', engine)
      await live.mount()
      writeFileSync(join(live.mountpoint, 'x'), 'x')
      const { keeperPid } = await live.status()
      process.kill(keeperPid, 'SIGTERM')
      await waitFor('the daemon to end', () => !isAlive(keeperPid))
      assert.equal(live.isMounted(), false)
      const commits = readFileSync(join(live.store, 'commits'), 'utf8')
      assert.match(commits, /"root"/)

      const words = [MAIN, 'mount', 'm', '--store', 's', '--foreground', '--engine', engine]
      const running = start(nodePath(), words, { env: live.env, cwd: live.base })
      t.after(() => running.kill())
      await waitFor('the mount', () => running.output().includes('mounted'))
      await live.status()
      running.child.kill('SIGINT')
      assert.equal((await running.finished).code, 0)
      assert.equal(live.isMounted(), false)
    })

    it('lends its store to no second mount, and its mountpoint neither', async (t) => {
      const live = liveShell(t, 'm', engine)
      await live.mount()
      const { keeperPid } = await live.status()
      const store = await live.run(['mount', 'm2', '--store', 's'])
      assert.match(
        store.stderr,
        new RegExp(`in use: mounted on .*/m by process ${keeperPid}; unmount`),
      )
      const place = await live.run(['mount', 'm', '--store', 's2', '--engine', 'native'])
      assert.match(place.stderr, new RegExp(`is mounted already, by engine ${engine} on store`))
      assert.deepEqual([store.code, place.code], [1, 1])
      const welcome = await live.run(['mount', 'm', '--store', 's', '--welcome'])
      assert.match(welcome.stdout, new RegExp(`is mounted already:(.|\\n)*engine +${engine}$`, 'm'))
      assert.equal((await live.run(['unmount', 'm'])).code, 0)
    })
  })
}

describe('a daemon that was told to end', () => {
  it('ends at once, without a commit, when it is told again while the mount is busy', async (t) => {
    const live = liveShell(t, 'm', 'fuse-native')
    await live.mount()
    writeFileSync(join(live.mountpoint, 'kept'), 'kept')
    const stander = start(
      'sh',
      ['-c', 'cd "$0" && echo ready && exec sleep 300', live.mountpoint],
      {
        env: live.env,
      },
    )
    t.after(() => stander.kill())
    await waitFor('the process to stand there', () => stander.output().includes('ready'))
    const { keeperPid } = await live.status()
    process.kill(keeperPid, 'SIGTERM')
    await waitFor('it to drain', async () => (await live.status()).state === 'draining')
    process.kill(keeperPid, 'SIGTERM')
    await waitFor('the daemon to end', () => !isAlive(keeperPid))
    assert.equal(live.isMounted(), false)
    assert.match(readFileSync(join(live.store, 'log/daemon.log'), 'utf8'), /told to end twice/)
    await stander.kill()
    await live.mount()
    assert.equal(readFileSync(join(live.mountpoint, 'kept'), 'utf8'), 'kept')
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })
})
