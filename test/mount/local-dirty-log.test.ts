import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createLogger } from '../../src/base/index.ts'
import { DirtyLog } from '../../src/mount/local/dirty-log.ts'
import { type InodeId, type StorePaths, storePaths } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

const WRITER = fileURLToPath(new URL('./dirty-log-writer.ts', import.meta.url))

function id(ino: bigint): InodeId {
  return { ino, btimeNs: ino * 10n }
}

function emptyStore(t: TestContext): StorePaths {
  const paths = storePaths(join(tempDir(t), 'store'))
  mkdirSync(paths.store)
  return paths
}

function opened(t: TestContext, paths: StorePaths): DirtyLog {
  const log = new DirtyLog(paths, createLogger({ level: 'error', write: () => undefined }))
  t.after(() => log.close())
  return log
}

describe('the dirty log', () => {
  it('is read back, and a torn line neither counts nor spoils the next', (t) => {
    const paths = emptyStore(t)
    writeFileSync(paths.dirtyLog, '1 10\n2 20\nnonsense\n1 11\n3 3')
    const log = opened(t, paths)
    assert.deepEqual(log.noted(), [{ ino: 1n, btimeNs: 11n }, id(2n)])
    log.note(id(4n))
    log.forget(id(1n))
    log.forget(id(2n))
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '1 10\n2 20\nnonsense\n1 11\n3 3\n4 40\n')
    // Another file of that number was settled: this one is noted still.
    assert.deepEqual(log.noted(), [{ ino: 1n, btimeNs: 11n }, id(4n)])
  })

  it('is rewritten with what is dirty when it has become long', (t) => {
    const paths = emptyStore(t)
    writeFileSync(paths.dirtyLog, '7 70\n'.repeat(4096))
    const log = opened(t, paths)
    log.note(id(8n))
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '7 70\n8 80\n')
    log.note(id(9n))
    log.clear()
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '')
    assert.ok(!existsSync(`${paths.dirtyLog}.new`))
  })

  it('keeps space for lines to come', (t) => {
    const paths = emptyStore(t)
    const log = opened(t, paths)
    const spareBytes = () => {
      const { size, blocks } = statSync(paths.dirtyLog)
      return blocks * 512 - size
    }
    assert.equal(spareBytes(), 64 * 1024)
    for (let ino = 10n ** 16n; ino < 10n ** 16n + 1500n; ino += 1n) {
      log.note(id(ino))
    }
    assert.ok(spareBytes() >= 32 * 1024)
    log.clear()
    assert.equal(spareBytes(), 64 * 1024)
  })

  it('refuses a note that it cannot write, and begins a new log with the next', async (t) => {
    const paths = emptyStore(t)
    const child = spawn(process.execPath, [WRITER, paths.store], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const answer = async () => (await answers.next()).value
    const note = (ino: bigint) => {
      child.stdin.write(`${ino}\n`)
      return answer()
    }
    /** The file may not grow beyond this: a write that reaches it is cut in the middle. */
    const limitTo = (bytes: number | 'unlimited') =>
      spawnSync('prlimit', [`--pid=${child.pid}`, `--fsize=${bytes}:unlimited`]).status
    assert.equal(await answer(), 'ready')
    assert.equal(await note(1n), 'ok')
    assert.equal(limitTo(7), 0)
    assert.equal(await note(222222n), 'EFBIG')
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '1 10\n22')
    assert.equal(await note(333333n), 'EFBIG')
    assert.equal(limitTo('unlimited'), 0)
    assert.equal(await note(4n), 'ok')
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '1 10\n4 40\n')
    assert.equal(await note(5n), 'ok')
    assert.equal(readFileSync(paths.dirtyLog, 'utf8'), '1 10\n4 40\n5 50\n')
    child.stdin.end()
    await once(child, 'exit')
  })
})
