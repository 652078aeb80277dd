import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { chdir, cwd } from 'node:process'
import { describe, it, type TestContext } from 'node:test'
import { callDaemon } from '../../src/cli/daemon-call.ts'
import { askKeeper } from '../../src/cli/keeper-socket.ts'
import { statusOf } from '../../src/cli/mount-status.ts'
import { tempDir } from '../support/index.ts'

const FACTS = {
  pid: process.pid,
  daemonPid: null,
  restarts: 2,
  mountpoint: '/srv/m',
  store: '/srv/s',
  readOnly: false,
  state: 'serving',
  passthrough: { active: true, reason: 'granted' },
  stats: { reads: 7, passthroughOpens: 3 },
}

/** A socket of a store that answers every connection with one line. */
async function listen(t: TestContext, store: string, name: string, line: string): Promise<Server> {
  const server = createServer((socket) => socket.end(`${line}\n`))
  // The address of a socket is short and a store's path need not be: bind from inside.
  const before = cwd()
  chdir(join(store, 'run'))
  rmSync(name, { force: true })
  server.listen(name)
  await once(server, 'listening')
  chdir(before)
  t.after(() => server.close())
  return server
}

function storeIn(t: TestContext, deep = false): string {
  const store = join(tempDir(t), deep ? 'long-name/'.repeat(30) : 'store')
  mkdirSync(join(store, 'run'), { recursive: true })
  return store
}

const signal = new AbortController().signal

describe('a call of the daemon', () => {
  it('gives its answer', async (t) => {
    const store = storeIn(t)
    await listen(t, store, 'control.sock', '{"ok":{"root":"r"}}')
    assert.deepEqual(await callDaemon(store, 'commit', {}, { signal }), { root: 'r' })
  })

  it('gives its error, with the exit code', async (t) => {
    const store = storeIn(t)
    const error = { code: 'dirty', message: 'cid x: it is dirty', exitCode: 4 }
    await listen(t, store, 'control.sock', JSON.stringify({ error }))
    await assert.rejects(callDaemon(store, 'cid', { paths: ['x'] }, { signal }), error)
  })

  it('fails at once when there is no keeper either', async (t) => {
    await assert.rejects(callDaemon(storeIn(t), 'commit', {}, { signal }), {
      code: 'daemon-away',
      exitCode: 1,
    })
  })

  it('waits for the daemon that the keeper is starting again', async (t) => {
    const store = storeIn(t)
    await listen(t, store, 'keeper.sock', JSON.stringify(FACTS))
    const call = callDaemon(store, 'commit', {}, { signal })
    await listen(t, store, 'control.sock', '{"ok":1}')
    assert.equal(await call, 1)
  })

  it('ends when it is cancelled', async (t) => {
    const store = storeIn(t)
    await listen(t, store, 'keeper.sock', JSON.stringify(FACTS))
    const cancel = new AbortController()
    const call = callDaemon(store, 'commit', {}, { signal: cancel.signal })
    cancel.abort()
    await assert.rejects(call, { name: 'AbortError' })
  })
})

describe('the keeper’s socket', () => {
  it('is reached however long the store’s path is', async (t) => {
    const store = storeIn(t, true)
    await listen(t, store, 'keeper.sock', JSON.stringify(FACTS))
    assert.deepEqual(await askKeeper(store), FACTS)
  })

  it('that nobody listens on means that there is no keeper', async (t) => {
    const store = storeIn(t)
    assert.equal(await askKeeper(store), undefined)
    assert.equal(await askKeeper(join(store, 'none')), undefined)
    const server = await listen(t, store, 'keeper.sock', '')
    server.close()
    await once(server, 'close')
    assert.equal(await askKeeper(store), undefined)
  })

  it('that speaks something else is an error, and no dead mount', async (t) => {
    const store = storeIn(t)
    await listen(t, store, 'keeper.sock', 'hello')
    await assert.rejects(askKeeper(store), { code: 'keeper-silent' })
  })
})

describe('the status', () => {
  it('is the keeper’s while the daemon is away', async (t) => {
    const store = storeIn(t)
    await listen(t, store, 'keeper.sock', JSON.stringify({ ...FACTS, store }))
    // The daemon stays away: what is asked for is cut short by no more than the wait for it.
    const error = { code: 'daemon-away', message: 'gone', exitCode: 1 }
    const control = await listen(t, store, 'control.sock', JSON.stringify({ error }))
    t.after(() => control.close())
    const mount = { mountpoint: '/srv/m', store, device: '0:1', engine: 'native' } as const
    const status = await statusOf(mount, { signal })
    assert.equal(status.state, 'serving')
    assert.equal(status.keeperPid, process.pid)
    assert.equal(status.restarts, 2)
    assert.equal(status.served.passthroughOpens, 3)
    assert.equal(status.partial, 'its daemon does not answer')
  })
})
