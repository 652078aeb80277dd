import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { isAlive, nodePath, runOk, start, waitFor } from '../support/index.ts'
import { MAIN, type Shell, shell } from './command.ts'
import { writeFakeKeeper } from './fake-keeper.ts'

/** A shell with what the rows need, and a keeper that must not be reached. */
async function prepared(t: TestContext): Promise<Shell & { keeper: string }> {
  const sh = shell(t)
  await writeFile(join(sh.base, 'file'), 'x')
  await mkdir(join(sh.base, 'full'))
  await writeFile(join(sh.base, 'full/model.bin'), 'x')
  symlinkSync('nowhere', join(sh.base, 'dangling'))
  const says = { error: { code: 'reached', message: 'the keeper was reached', exitCode: 1 } }
  const keeper = writeFakeKeeper(sh.base, `console.log(${JSON.stringify(JSON.stringify(says))})`)
  return { ...sh, keeper }
}

type Row = [what: string, words: string[], exitCode: number, message: RegExp]

const ROWS: Row[] = [
  ['is a file', ['file'], 2, /mountpoint ".*\/file": it is no directory; give an empty directory/],
  ['lies in a file', ['file/m'], 2, /mountpoint ".*": a part of this path is no directory/],
  ['is not empty', ['full'], 2, /mountpoint ".*\/full": it is not empty \("model.bin"\)/],
  ['lacks its parent', ['no/m'], 2, /its parent does not exist; make it with `mkdir -p '.*\/no'`/],
  ['is a dangling link', ['dangling'], 2, /it is a link to "nowhere", which does not exist/],
  ['lies in the store', ['s/m', '--store', '.'], 2, /its parent does not exist|lies in the store/],
  ['is the store', ['m', '--store', 'm'], 2, /mountpoint ".*\/m": it lies in the store/],
  ['holds the store', ['m', '--store', 'm/s'], 2, /--store ".*\/m\/s": it lies in the mountpoint/],
  ['is over-long', [`/${'d/'.repeat(2000)}m`], 2, /bytes; give one of at most 3839/],
  ['is mounted by another', ['/proc'], 1, /file system of type proc is mounted there already/],
  [
    'has a store that is a file',
    ['m', '--store', 'file'],
    2,
    /--store ".*\/file": it is no folder; give one/,
  ],
  ['has a store in a file', ['m', '--store', 'file/s'], 2, /a part of this path is no directory/],
  ['has a store that is none', ['m', '--store', 'full'], 2, /--store ".*\/full": it is not empty/],
]

describe('a mount is refused when its mountpoint', () => {
  for (const [what, words, exitCode, message] of ROWS) {
    it(`${what}, and nothing is left`, async (t) => {
      const sh = await prepared(t)
      const before = readdirSync(sh.base, { recursive: true }).sort()
      const { code, stdout, stderr } = await sh.run(['mount', ...words], {
        MODELCACHE_KEEPER: sh.keeper,
      })
      assert.match(stderr.trimEnd(), message)
      assert.equal(stderr.trimEnd().split('\n').length, 1)
      assert.deepEqual([code, stdout], [exitCode, ''])
      assert.deepEqual(readdirSync(sh.base, { recursive: true }).sort(), before)
    })
  }
})

describe('a mount is refused when the machine', () => {
  it('shuts the gate on a peer', async (t) => {
    const words = ['mount', 'm', '--peer', 'http://127.0.0.1:1/t/abcdefghijklmnop']
    const { code, stderr } = await shell(t).run(words, { IPFS_KIT_DISABLE: 'YES' })
    assert.match(stderr, /--peer: the gate is closed by IPFS_KIT_DISABLE=YES/)
    assert.equal(code, 5)
  })
})

describe('the store’s file system', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  const ROOT_CID = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'

  /** Mounts something for one test, and takes it away before the test's folder goes. */
  async function mounted(sh: Shell, name: string, words: string[]) {
    const place = join(sh.base, name)
    await mkdir(place, { recursive: true })
    await runOk('mount', [...words, place], { env: sh.env })
    return { place, gone: () => runOk('umount', [place], { env: sh.env }) }
  }

  it('without user xattrs refuses --from with exit code 5, and warns without', async (t) => {
    const sh = await prepared(t)
    const ramfs = await mounted(sh, 'ram', ['-t', 'ramfs', 'none'])
    try {
      const words = ['mount', 'm', '--store', 'ram/s']
      const env = { MODELCACHE_KEEPER: sh.keeper }
      const from = await sh.run([...words, '--from', ROOT_CID], env)
      assert.match(from.stderr, /file system \(ramfs\) has no user xattrs, which --from needs/)
      assert.equal(from.code, 5)
      const plain = await sh.run(words, env)
      assert.match(plain.stderr, /^warning: .*nothing can be opened with --from here/)
      assert.match(plain.stderr, /the keeper was reached/)
      assert.deepEqual(readdirSync(ramfs.place), [])
    } finally {
      await ramfs.gone()
    }
  })

  it('warns on overlayfs of what is lost', async (t) => {
    const sh = await prepared(t)
    for (const name of ['lower', 'upper', 'work']) {
      await mkdir(join(sh.base, name))
    }
    const dirs = `lowerdir=${sh.base}/lower,upperdir=${sh.base}/upper,workdir=${sh.base}/work`
    const overlay = await mounted(sh, 'over', ['-t', 'overlay', 'none', '-o', dirs])
    try {
      const words = ['mount', 'm', '--store', 'over/s']
      const { stderr } = await sh.run(words, { MODELCACHE_KEEPER: sh.keeper })
      assert.match(stderr, /warning: .*is on overlayfs, the writable layer of a container: it goes/)
      assert.match(stderr, /the keeper was reached/)
    } finally {
      await overlay.gone()
    }
  })
})

describe('the keeper', () => {
  it('gets one object, an environment without the user’s caches, and a session of its own', async (t) => {
    const sh = shell(t)
    const keeper = writeFakeKeeper(
      sh.base,
      `console.log('{"error":{"message":"no","exitCode":5}}')`,
    )
    const { code, stderr } = await sh.run(['mount', 'm', '--read-only', '--fetch-deadline', '7'], {
      MODELCACHE_KEEPER: keeper,
      HF_HOME: '/m',
      CI: 'true',
    })
    assert.equal(stderr, 'modelcache: no\n')
    assert.equal(code, 5)
    const { told, cwd, env, pid, session } = JSON.parse(
      readFileSync(join(sh.base, 'told.json'), 'utf8'),
    )
    assert.equal(told.mountpoint, join(sh.base, 'm'))
    assert.match(told.store, /\.local\/share\/modelcache\/m-[0-9a-f]{8}$/)
    assert.equal(told.fsName, `modelcache#${told.store}`)
    assert.equal(told.readOnly, true)
    assert.deepEqual([told.fetchDeadlineMs, told.daemonConfig.fetchDeadlineMs], [7000, 7000])
    assert.deepEqual(told.daemonConfig.gate, { open: false, by: 'CI=true' })
    assert.equal(cwd, told.store)
    assert.equal(Number(session), pid)
    const names = new Set(Object.keys({ ...env, ...told.daemon.env }))
    assert.deepEqual([...names].sort(), ['HOME', 'LANG', 'PATH'])
  })

  it('leaves nothing when it fails', async (t) => {
    const sh = shell(t)
    const keeper = writeFakeKeeper(
      sh.base,
      `console.log('{"error":{"message":"no","exitCode":1}}')`,
    )
    await sh.run(['mount', 'm', '--store', 'deep/er/s'], { MODELCACHE_KEEPER: keeper })
    assert.deepEqual(readdirSync(sh.base).sort(), ['fake-keeper', 'home', 'told.json'])
  })

  it('leaves a store that it found, and what came into the tree of a new one', async (t) => {
    const sh = shell(t)
    const keeper = writeFakeKeeper(
      sh.base,
      `writeFileSync(told.store + '/tree/kept', 'x'); console.log('{"error":{"message":"no"}}')`,
    )
    await sh.run(['mount', 'm', '--store', 's'], { MODELCACHE_KEEPER: keeper })
    assert.equal(readFileSync(join(sh.base, 's/tree/kept'), 'utf8'), 'x')
    rmSync(join(sh.base, 's/tree/kept'))
    const failing = writeFakeKeeper(sh.base, `console.log('{"error":{"message":"no"}}')`)
    await sh.run(['mount', 'm', '--store', 's'], { MODELCACHE_KEEPER: failing })
    assert.equal(readFileSync(join(sh.base, 's/version'), 'utf8'), '1\n')
  })

  it('has its last words told when it ends without an answer', async (t) => {
    const sh = shell(t)
    const keeper = writeFakeKeeper(sh.base, `console.error('panicked at nothing'); process.exit(9)`)
    const { code, stderr } = await sh.run(['mount', 'm'], { MODELCACHE_KEEPER: keeper })
    assert.equal(stderr, 'modelcache: the keeper ended before it was ready: panicked at nothing\n')
    assert.equal(code, 1)
  })

  for (const [what, text] of [
    ['ends at once', '#!/bin/true\n'],
    ['cannot be run', '#!/nowhere/interpreter\n'],
  ] as const) {
    it(`is not waited for when it ${what}`, async (t) => {
      const sh = shell(t)
      const keeper = join(sh.base, 'keeper')
      await writeFile(keeper, text, { mode: 0o755 })
      const { code, stderr } = await sh.run(['mount', 'm'], { MODELCACHE_KEEPER: keeper })
      assert.match(stderr, /^modelcache: .*keeper/)
      assert.ok(code === 1 || code === 5)
      assert.deepEqual(readdirSync(sh.base).sort(), ['home', 'keeper'])
    })
  }

  it('ends, and leaves nothing, when the wait for it is interrupted', async (t) => {
    const sh = shell(t)
    const keeper = writeFakeKeeper(sh.base, `setInterval(() => {}, 1000)`)
    const env = { ...sh.env, MODELCACHE_KEEPER: keeper }
    const running = start(nodePath(), [MAIN, 'mount', 'm', '--store', 's'], { env, cwd: sh.base })
    const pid = await waitFor('the keeper to be told', () => {
      try {
        return Number(JSON.parse(readFileSync(join(sh.base, 'told.json'), 'utf8')).pid)
      } catch {
        return undefined
      }
    })
    running.child.kill('SIGTERM')
    const { code, stderr } = await running.finished
    assert.equal(stderr, 'modelcache: interrupted\n')
    assert.equal(code, 143)
    assert.equal(isAlive(pid), false)
    assert.deepEqual(readdirSync(sh.base).sort(), ['fake-keeper', 'home', 'told.json'])
  })
})
