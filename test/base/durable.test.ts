import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { appendDurable, writeFileDurable } from '../../src/base/index.ts'
import { tempDir } from '../support/index.ts'

describe('writeFileDurable', () => {
  it('replaces the content, sets the mode and leaves nothing else', async (t) => {
    const dir = tempDir(t)
    const path = join(dir, 'file')
    await writeFileDurable(path, 'one', 0o644)
    await writeFileDurable(path, 'two', 0o600)
    assert.equal(await readFile(path, 'utf8'), 'two')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(dir), ['file'])
  })

  it('leaves nothing behind when it fails', async (t) => {
    const dir = tempDir(t)
    await mkdir(join(dir, 'taken'))
    await assert.rejects(writeFileDurable(join(dir, 'taken'), 'x', 0o600), { code: 'EISDIR' })
    assert.deepEqual(await readdir(dir), ['taken'])
  })
})

describe('appendDurable', () => {
  it('creates the file and appends to it', async (t) => {
    const path = join(tempDir(t), 'log')
    await appendDurable(path, 'one\n')
    await appendDurable(path, Buffer.from('two\n'))
    assert.equal(await readFile(path, 'utf8'), 'one\ntwo\n')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
  })
})
