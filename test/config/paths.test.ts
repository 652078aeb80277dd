import assert from 'node:assert/strict'
import { mkdtemp, realpath, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { checkApart, defaultStore, realPlace, servingEnvironment } from '../../src/config/index.ts'

describe('places', () => {
  it('puts the default store below XDG_DATA_HOME under the name and a hash of the path', () => {
    const store = defaultStore('/srv/model_cache', { XDG_DATA_HOME: '/data' })
    assert.match(store, /^\/data\/modelcache\/model_cache-[0-9a-f]{8}$/)
    assert.notEqual(store, defaultStore('/opt/model_cache', { XDG_DATA_HOME: '/data' }))
    assert.equal(store, defaultStore('/srv/model_cache', { XDG_DATA_HOME: '/data' }))
  })

  it('ignores a relative XDG_DATA_HOME', () => {
    assert.match(defaultStore('/m', { XDG_DATA_HOME: 'd', HOME: '/h' }), /^\/h\/\.local\/share\//)
  })

  it('keeps the name of a default store within 255 bytes', () => {
    const name =
      defaultStore(`/${'ü'.repeat(127)}`, { HOME: '/h' })
        .split('/')
        .at(-1) ?? ''
    assert.ok(Buffer.byteLength(name) <= 255)
    assert.ok(!name.includes('\ufffd'))
  })

  it('follows links of a directory that does not exist yet', async (t) => {
    const base = await realpath(await mkdtemp(join(tmpdir(), 'modelcache-paths-')))
    t.after(() => rm(base, { recursive: true }))
    await symlink(base, join(base, 'link'))
    assert.equal(await realPlace(join(base, 'link', 'new')), join(base, 'new'))
    await assert.rejects(realPlace(join(base, 'none', 'new')), { code: 'ENOENT' })
  })

  const apart: [string, string, boolean][] = [
    ['/a', '/b', true],
    ['/a', '/ab', true],
    ['/a', '/a', false],
    ['/a/m', '/a', false],
    ['/a', '/a/s', false],
  ]
  for (const [mountpoint, store, ok] of apart) {
    it(`${ok ? 'takes' : 'refuses'} mountpoint ${mountpoint} with store ${store}`, () => {
      const check = () => checkApart(mountpoint, store)
      if (ok) {
        check()
      } else {
        assert.throws(check, { exitCode: 2 })
      }
    })
  }

  it('gives the serving processes none of the user’s cache variables', () => {
    const env = servingEnvironment(
      { PATH: '/bin', HF_HOME: '/m', TMPDIR: '/m/t', XDG_CACHE_HOME: '/m', HOME: '/m', CI: '1' },
      '/store',
    )
    assert.deepEqual(env, { PATH: '/bin', HOME: '/store', LANG: 'C.UTF-8' })
  })
})
