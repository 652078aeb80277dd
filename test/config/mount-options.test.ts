import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { mountOptions, type RawMountOptions } from '../../src/config/index.ts'

const V1 = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const V0 = 'QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n'

const parse = (directory: string, raw: RawMountOptions = {}, env: Record<string, string> = {}) =>
  mountOptions(directory, raw, '/home/ada', env)

describe('the options of mount', () => {
  it('resolves places against the working directory', () => {
    const options = parse('./m', { store: '../s' })
    assert.equal(options.mountpoint, '/home/ada/m')
    assert.equal(options.store, '/home/s')
  })

  it('waits 30 seconds for remote bytes, or as long as it is told', () => {
    assert.equal(parse('m').fetchDeadlineMs, 30_000)
    assert.equal(parse('m', { fetchDeadline: '5' }).fetchDeadlineMs, 5_000)
  })

  it('takes a root as a CAR file: by its ending, or where the value is a path', () => {
    for (const [value, path] of [
      ['cache.car', '/w/cache.car'],
      ['../CACHE.CAR', '/CACHE.CAR'],
      ['./export', '/w/export'],
      ['/mnt/stick/export', '/mnt/stick/export'],
    ] as const) {
      const { car, from } = mountOptions('m', { from: value }, '/w', {})
      assert.deepEqual([car, from], [path, undefined])
    }
  })

  it('takes a root as a CID of either version, an ipfs: URL or a path', () => {
    for (const [given, expected] of [
      [V1, V1],
      [V0, V0],
      [`ipfs://${V1}`, V1],
      [`/ipfs/${V1}`, V1],
      [`/ipfs/${V1}/`, V1],
    ] as const) {
      assert.equal(parse('m', { from: given }).from, expected)
    }
  })

  const wrong: [what: string, directory: string, raw: RawMountOptions, message: RegExp][] = [
    ['an empty mountpoint', '', {}, /mountpoint "".*path of a directory/],
    ['the root of the system', '/', {}, /mountpoint "\/".*\.\/model_cache/],
    ['a name of 256 bytes', `/tmp/${'n'.repeat(256)}`, {}, /256 bytes.*at most 255/],
    ['an over-long path', `/${'dir/'.repeat(1000)}m`, {}, /4002 bytes.*at most 3839/],
    ['an over-long store', 'm', { store: `/${'dir/'.repeat(1000)}` }, /--store.*at most 3583/],
    ['an empty store', 'm', { store: '' }, /--store "".*path of a directory/],
    ['an unknown engine', 'm', { engine: 'warp' }, /--engine "warp".*auto, native/],
    ['an unknown gate', 'm', { gate: 'ajar' }, /--gate "ajar".*auto, open, closed/],
    [
      'a CID that is none',
      'm',
      { from: 'bafynope' },
      /--from "bafynope" is no CID.*modelcache commit/,
    ],
    ['an empty CID', 'm', { from: '' }, /--from "" is no CID/],
    ['a name of IPNS', 'm', { from: `ipns://${V1}` }, /names cannot be opened yet/],
    ['no roots', 'm', { keepRoots: '0' }, /--keep-roots "0".*from 1 to 1000/],
    [
      'a leaf',
      'm',
      { from: 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy' },
      /codec 0x55.*no directory/,
    ],
    ['no deadline', 'm', { fetchDeadline: '0' }, /--fetch-deadline "0".*from 1 to 3600/],
    ['a deadline in words', 'm', { fetchDeadline: '30s' }, /--fetch-deadline "30s"/],
    ['an empty peer', 'm', { peer: [' '] }, /--peer " ".*modelcache share/],
    [
      '65 peers',
      'm',
      { peer: Array.from({ length: 65 }, (_, n) => `http://h:${n + 1}/t/x`) },
      /65 peers.*at most 64/,
    ],
  ]
  for (const [what, directory, raw, message] of wrong) {
    it(`refuses ${what} with exit code 2`, () => {
      assert.throws(() => parse(directory, raw), { exitCode: 2, message })
    })
  }

  it('refuses a peer while the gate is closed with exit code 5, naming the gate', () => {
    assert.throws(() => parse('m', { peer: ['http://127.0.0.1:1/t/x'] }, { CI: 'true' }), {
      exitCode: 5,
      message: /--peer.*CI=true/,
    })
  })
})
