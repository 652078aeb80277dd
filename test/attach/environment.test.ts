import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { clientEnvironment, shellText } from '../../src/attach/index.ts'

const HOME = { HOME: '/home/ada' }

describe('the environment of clients', () => {
  it('makes the mountpoint itself HF_HOME', () => {
    const env = clientEnvironment('/srv/m', HOME)
    assert.equal(env.HF_HOME, '/srv/m')
    assert.equal(env.HF_HUB_CACHE, '/srv/m/hub')
    assert.equal(env.TORCH_HOME, '/srv/m/torch')
  })

  it('keeps upstream’s own IPFS layer out of the way', () => {
    const env = clientEnvironment('/srv/m', HOME)
    assert.deepEqual(
      [
        env.IPFS_KIT_DISABLE,
        env.STORAGE_FORCE_LOCAL,
        env.TRANSFORMERS_PATCH_DISABLE,
        env.IPFS_FALLBACK_ENABLED,
      ],
      ['1', '1', '1', '0'],
    )
  })

  const tokens: [string, Record<string, string>, string][] = [
    ['nothing is set', {}, '/home/ada/.cache/huggingface/token'],
    ['XDG_CACHE_HOME is set', { XDG_CACHE_HOME: '/c' }, '/c/huggingface/token'],
    ['XDG_CACHE_HOME is relative', { XDG_CACHE_HOME: 'c' }, '/home/ada/.cache/huggingface/token'],
    ['HF_HOME is set', { HF_HOME: '/hf' }, '/hf/token'],
    ['HF_HOME has a tilde', { HF_HOME: '~/hf' }, '/home/ada/hf/token'],
    ['HF_HOME leads into the mount', { HF_HOME: '/srv/m' }, '/home/ada/.cache/huggingface/token'],
    ['HF_TOKEN_PATH is set', { HF_TOKEN_PATH: '/secret/t', HF_HOME: '/hf' }, '/secret/t'],
    [
      'HF_TOKEN_PATH leads into the mount',
      { HF_TOKEN_PATH: '/srv/m/t', HF_HOME: '/hf' },
      '/hf/token',
    ],
    ['all lead into it', { XDG_CACHE_HOME: '/srv/m/x' }, '/home/ada/.cache/huggingface/token'],
    ['HF_HOME only begins alike', { HF_HOME: '/srv/m2' }, '/srv/m2/token'],
  ]
  for (const [when, caller, expected] of tokens) {
    it(`leaves the token where it was when ${when}`, () => {
      assert.equal(clientEnvironment('/srv/m', { ...HOME, ...caller }).HF_TOKEN_PATH, expected)
    })
  }

  it('keeps the chunk cache and loaded code on the local disk', () => {
    const env = clientEnvironment('/srv/m', { ...HOME, HF_HOME: '/hf' })
    assert.equal(env.HF_XET_CACHE, '/hf/xet')
    assert.equal(env.HF_MODULES_CACHE, '/hf/modules')
  })

  it('overrides a variable that would lead past the mount, and sets it only then', () => {
    const env = clientEnvironment('/srv/m', { ...HOME, TRANSFORMERS_CACHE: '/old' })
    assert.equal(env.TRANSFORMERS_CACHE, '/srv/m/hub')
    assert.equal('TRANSFORMERS_CACHE' in clientEnvironment('/srv/m', HOME), false)
  })

  it('is the same when it is taken twice', () => {
    const once = clientEnvironment('/srv/m', { ...HOME, HF_HOME: '/hf' })
    assert.deepEqual(clientEnvironment('/srv/m', { ...HOME, ...once }), once)
  })
})

describe('the text for shells', () => {
  const value = `it's "a" $HOME \`b\` \\ ü`

  it('survives sh unchanged', () => {
    const script = `${shellText({ X: value }, 'sh')}\nprintf %s "$X"`
    assert.equal(execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8' }), value)
  })

  it('escapes what is special in fish', () => {
    assert.equal(shellText({ X: `a'b\\c` }, 'fish'), `set -gx X 'a\\'b\\\\c'`)
  })

  it('is one object in JSON', () => {
    assert.deepEqual(JSON.parse(shellText({ X: value }, 'json')), { X: value })
  })
})
