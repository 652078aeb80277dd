import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { askKeeper } from '../../src/cli/keeper-socket.ts'
import { createStore } from '../../src/tree/index.ts'
import { isAlive, type Running, start, tempDir, waitFor } from '../support/index.ts'
import { daemonConfig, OPEN_GATE } from './fake-mount.ts'

const SERVE = fileURLToPath(new URL('../../src/daemon/serve.ts', import.meta.url))

interface Place {
  readonly store: string
  readonly mountpoint: string
}

async function place(t: TestContext): Promise<Place> {
  const base = tempDir(t)
  const mountpoint = join(base, 'm')
  mkdirSync(mountpoint)
  const { store } = await createStore(join(base, 'store'))
  return { store, mountpoint }
}

/** Starts it as the command line does, with these words on its standard input. */
function serve(t: TestContext, { store }: Place, input: string): Running {
  const env = { PATH: process.env.PATH ?? '', HOME: store }
  const running = start(process.execPath, [SERVE], { env, cwd: store, input })
  t.after(() => running.kill())
  return running
}

function configOf(place: Place, config: Record<string, unknown> = {}): string {
  return JSON.stringify({
    ...place,
    engine: 'none',
    readOnly: false,
    fsName: 'modelcache#test',
    fetchDeadlineMs: 30_000,
    daemonConfig: daemonConfig(config),
  })
}

const lastLine = (running: Running) =>
  JSON.parse(running.output().trimEnd().split('\n').at(-1) ?? '')

describe('a daemon with its engine in it', () => {
  it('says that it is ready, tells its facts to its owner, and ends with 0', async (t) => {
    const here = await place(t)
    const running = serve(t, here, configOf(here))
    await waitFor('it to be ready', () => running.output().includes('\n'))
    const { ready, pid, passthrough } = lastLine(running)
    assert.deepEqual([ready, pid, passthrough.active], [true, running.pid, false])
    assert.match(passthrough.reason, /^engine none: /)
    const socket = join(here.store, 'run/keeper.sock')
    assert.equal(statSync(socket).mode & 0o777, 0o600)
    const facts = await askKeeper(here.store)
    assert.deepEqual(
      [facts?.pid, facts?.daemonPid, facts?.state, facts?.mountpoint],
      [running.pid, running.pid, 'serving', here.mountpoint],
    )
    running.child.kill('SIGTERM')
    assert.equal((await running.finished).code, 0)
    assert.deepEqual(readdirSync(join(here.store, 'run')), [])
    assert.equal(lstatSync(here.mountpoint).isDirectory(), true)
  })

  const WRONG: [what: string, text: (place: Place) => string, message: RegExp][] = [
    ['is no JSON', () => 'hello', /start configuration: it is no JSON/],
    ['names the keeper’s engine', (p) => configOf(p).replace('"none"', '"native"'), /engine is/],
    ['has a relative store', (p) => configOf({ ...p, store: 's' }), /no absolute path/],
  ]
  for (const [what, text, message] of WRONG) {
    it(`refuses a configuration that ${what}`, async (t) => {
      const here = await place(t)
      const running = serve(t, here, text(here))
      assert.equal((await running.finished).code, 1)
      const { error } = lastLine(running)
      assert.match(error.message, message)
      assert.deepEqual([error.code, error.exitCode], ['usage', 2])
    })
  }

  it('leaves a store alone that another one holds', async (t) => {
    const here = await place(t)
    const placeBefore = statSync(here.mountpoint)
    const first = serve(t, here, configOf(here))
    await waitFor('it to be ready', () => first.output().includes('\n'))
    const second = serve(t, here, configOf({ ...here, mountpoint: `${here.mountpoint}2` }))
    await second.finished
    assert.equal(lastLine(second).error.code, 'store-locked')
    assert.equal((await askKeeper(here.store))?.pid, first.pid)
    const mark = JSON.parse(readFileSync(join(here.store, 'run/serving.json'), 'utf8'))
    const { mode, uid, gid } = placeBefore
    const directory = { mode: mode & 0o7777, uid, gid }
    assert.deepEqual(mark, { engine: 'none', mountpoint: here.mountpoint, directory })
    first.child.kill('SIGTERM')
    assert.equal((await first.finished).code, 0)
  })

  it('ends when it is told to while it starts, and the store is as it was', async (t) => {
    const here = await place(t)
    // A peer that takes the question and never answers.
    const silent = createServer().listen(0, '127.0.0.1')
    t.after(() => silent.close())
    await new Promise((resolve) => silent.once('listening', resolve))
    const address = silent.address()
    assert.ok(typeof address === 'object' && address !== null)
    const peer = `http://127.0.0.1:${address.port}/t/abcdefghijklmnopqrstuvwxyz`
    const from = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
    const asked = new Promise((resolve) => silent.once('connection', resolve))
    const running = serve(t, here, configOf(here, { gate: OPEN_GATE, from, peers: [peer] }))
    await asked
    assert.equal((await askKeeper(here.store))?.state, 'starting')
    running.child.kill('SIGTERM')
    assert.equal((await running.finished).code, 1)
    assert.equal(lastLine(running).error.code, 'interrupted')
    assert.equal(isAlive(running.pid), false)
    assert.deepEqual(readdirSync(join(here.store, 'run')), [])
    assert.equal(existsSync(join(here.store, 'unclean')), false)
    assert.equal(lstatSync(here.mountpoint).isDirectory(), true)
  })
})
