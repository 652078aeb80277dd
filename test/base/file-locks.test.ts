import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import {
  dropLease,
  hasReadLease,
  LEASE_SIGNAL,
  takeReadLease,
  tryFlock,
} from '../../src/base/index.ts'
import { tempDir } from '../support/index.ts'

function openFile(t: TestContext, path: string, flags: string): number {
  const fd = openSync(path, flags)
  t.after(() => closeSync(fd))
  return fd
}

function appendInShell(t: TestContext, path: string): ChildProcess {
  const child = spawn('sh', ['-c', 'echo more >> "$0"', path], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return child
}

describe('flock', () => {
  it('is held by one open of the file at a time', (t) => {
    const path = join(tempDir(t), 'lock')
    const first = openSync(path, 'w')
    const second = openFile(t, path, 'w')
    assert.ok(tryFlock(first))
    assert.ok(!tryFlock(second))
    closeSync(first)
    assert.ok(tryFlock(second))
  })
})

describe('a read lease', () => {
  it('is refused while the file is open for writing', (t) => {
    const path = join(tempDir(t), 'file')
    openFile(t, path, 'w')
    const fd = openFile(t, path, 'r')
    assert.throws(() => takeReadLease(fd), { errno: 'EAGAIN' })
    assert.ok(!hasReadLease(fd))
  })

  it('makes a writer wait until it is let go, and says so', async (t) => {
    const path = join(tempDir(t), 'file')
    writeFileSync(path, 'some\n')
    const fd = openFile(t, path, 'r')
    const signalled = Promise.withResolvers<void>()
    process.on(LEASE_SIGNAL, signalled.resolve)
    t.after(() => process.off(LEASE_SIGNAL, signalled.resolve))
    takeReadLease(fd)
    assert.ok(hasReadLease(fd))
    const child = appendInShell(t, path)
    const exit = once(child, 'exit')
    await signalled.promise
    assert.ok(!hasReadLease(fd))
    assert.equal(readFileSync(path, 'utf8'), 'some\n')
    dropLease(fd)
    assert.deepEqual(await exit, [0, null])
    assert.equal(readFileSync(path, 'utf8'), 'some\nmore\n')
  })

  it('lets itself go twice', (t) => {
    const path = join(tempDir(t), 'file')
    writeFileSync(path, '')
    const fd = openFile(t, path, 'r')
    takeReadLease(fd)
    dropLease(fd)
    dropLease(fd)
    assert.ok(!hasReadLease(fd))
  })

  it('is broken without harm to a process that does not listen', async (t) => {
    const path = join(tempDir(t), 'file')
    writeFileSync(path, '')
    const fd = openFile(t, path, 'r')
    takeReadLease(fd)
    const exit = once(appendInShell(t, path), 'exit')
    while (hasReadLease(fd)) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    dropLease(fd)
    assert.deepEqual(await exit, [0, null])
  })
})
