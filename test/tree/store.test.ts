import assert from 'node:assert/strict'
import { chmod, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { checkStore, createStore, storePaths } from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

describe('createStore', () => {
  it('makes a folder that is only ours, and accepts it again', async (t) => {
    const dir = join(tempDir(t), 'deep', 'store')
    const paths = await createStore(dir)
    assert.equal((await stat(dir)).mode & 0o777, 0o700)
    assert.deepEqual((await readdir(dir)).sort(), [
      'db',
      'extents',
      'log',
      'nodes',
      'objects',
      'run',
      'staging',
      'tree',
      'version',
    ])
    await writeFile(join(paths.tree, 'file'), '')
    assert.deepEqual(await createStore(dir), paths)
    assert.deepEqual(await readdir(paths.tree), ['file'])
    assert.deepEqual(await checkStore(dir), storePaths(dir))
  })

  it('finishes what was cut short', async (t) => {
    const dir = join(tempDir(t), 'store')
    const paths = await createStore(dir)
    await rm(paths.version)
    await rm(paths.run, { recursive: true })
    await createStore(dir)
    await checkStore(dir)
    assert.ok((await stat(paths.run)).isDirectory())
  })

  it('refuses a folder with something else in it, and leaves it alone', async (t) => {
    const dir = join(tempDir(t), 'store')
    await mkdir(dir, { mode: 0o700 })
    await writeFile(join(dir, 'thesis.txt'), '')
    await assert.rejects(createStore(dir), { code: 'store-not-empty', message: /thesis\.txt/ })
    assert.deepEqual(await readdir(dir), ['thesis.txt'])
  })
})

describe('checkStore', () => {
  it('names what is wrong and the remedy', async (t) => {
    const dir = join(tempDir(t), 'store')
    await assert.rejects(checkStore(dir), { code: 'no-store' })
    const paths = await createStore(dir)
    await chmod(dir, 0o755)
    await assert.rejects(checkStore(dir), { code: 'store-mode', message: /chmod 700/ })
    await chmod(dir, 0o700)
    await writeFile(paths.version, '99\n')
    await assert.rejects(checkStore(dir), { code: 'store-version', message: /99/ })
    await assert.rejects(createStore(dir), { code: 'store-version' })
    await rm(paths.version)
    await assert.rejects(checkStore(dir), { code: 'no-store' })
    await assert.rejects(checkStore(paths.lock), { code: 'no-store' })
  })
})
