import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { shell } from './command.ts'
import { runWithoutFuse } from './hidden-fuse.ts'
import { liveShell } from './live-mount.ts'

const NO_KEEPER = { MODELCACHE_KEEPER: '/nowhere/keeper' }
const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' }

describe('--engine auto', () => {
  it('without a keeper takes fuse-native, and says why, what is lost and the remedy', async (t) => {
    const live = liveShell(t)
    const words = ['mount', 'm', '--store', 's']
    const { code, stderr } = await live.run(words, NO_KEEPER)
    assert.equal(code, 0, stderr)
    const { engine, lost } = await live.status()
    assert.equal(engine, 'fuse-native')
    const [why, what] = stderr.split('\n')
    assert.match(why ?? '', /^engine fuse-native: the keeper \/nowhere\/keeper is missing, so/)
    assert.match(why ?? '', /build it with `npm start` in .*, which needs Rust$/)
    assert.equal(what, `what is lost: ${lost.join('; ')}`)
    assert.equal((await live.run(['unmount', 'm'])).code, 0)
  })

  it(
    'without /dev/fuse takes none, and says why, what is lost and the remedy',
    needsRoot,
    async (t) => {
      const live = liveShell(t)
      const { code, stderr } = await runWithoutFuse(live, ['mount', 'm', '--store', 's'])
      assert.equal(code, 0, stderr)
      const [why, what] = stderr.split('\n')
      assert.match(
        why ?? '',
        /^engine none: \/dev\/fuse is missing, so ".*\/m" is a link to the files/,
      )
      assert.match(why ?? '', /modprobe fuse.*--device \/dev\/fuse/)
      assert.match(what ?? '', /^what is lost: nothing is fetched when it is read/)
      assert.equal((await live.status()).engine, 'none')
      assert.equal(lstatSync(live.mountpoint).isSymbolicLink(), true)
      writeFileSync(join(live.mountpoint, 'x'), 'x')
      assert.equal((await live.run(['unmount', 'm'])).code, 0)
    },
  )

  it('takes no worse engine when a keeper is there and fails', async (t) => {
    const sh = shell(t)
    const keeper = join(sh.base, 'keeper')
    writeFileSync(keeper, '#!/bin/sh\necho no luck >&2; exit 1\n', { mode: 0o755 })
    const { code, stderr } = await sh.run(['mount', 'm'], { MODELCACHE_KEEPER: keeper })
    assert.equal(stderr, 'modelcache: the keeper ended before it was ready: no luck\n')
    assert.equal(code, 1)
    assert.deepEqual(readdirSync(sh.base).sort(), ['home', 'keeper'])
  })
})

describe('an engine that was named', () => {
  /** The first bytes of a program for s390x, which is none of ours (elf(5): e_machine 22). */
  function foreignKeeper(folder: string): string {
    const header = Buffer.alloc(64)
    header.write('\x7fELF\x02\x01\x01', 'latin1')
    header.writeUInt16LE(22, 18)
    const path = join(folder, 'keeper')
    writeFileSync(path, header, { mode: 0o755 })
    return path
  }

  const keepers: [what: string, keeper: (folder: string) => string, message: RegExp][] = [
    ['is missing', () => '/nowhere/keeper', /keeper \/nowhere\/keeper is missing: build it with/],
    ['is a folder', (folder) => folder, /is no program|start the keeper/],
    ['is of another machine', foreignKeeper, /is built for another kind of machine: build it/],
  ]
  for (const [what, keeper, message] of keepers) {
    it(`is refused with exit code 5 when it is native and its keeper ${what}`, async (t) => {
      const sh = shell(t)
      const words = ['mount', 'm', '--engine', 'native']
      const { code, stderr } = await sh.run(words, { MODELCACHE_KEEPER: keeper(sh.base) })
      assert.match(stderr, message)
      assert.equal(code, 5)
      assert.equal(readdirSync(sh.base).includes('m'), false)
    })
  }

  for (const engine of ['native', 'fuse-native']) {
    it(
      `is refused with exit code 5 when it is ${engine} and /dev/fuse is missing`,
      needsRoot,
      async (t) => {
        const sh = shell(t)
        const { code, stderr } = await runWithoutFuse(sh, ['mount', 'm', '--engine', engine])
        assert.match(stderr, new RegExp(`--engine ${engine}: /dev/fuse is missing: load it with`))
        assert.equal(code, 5)
        assert.deepEqual(readdirSync(sh.base), ['home'])
      },
    )
  }
})

describe('an option that the engine cannot keep is refused with exit code 5', () => {
  const rows: [words: string[], env: Record<string, string>, message: RegExp][] = [
    [['--engine', 'none', '--read-only'], {}, /--read-only: only an engine with FUSE can keep it/],
    [['--engine', 'none', '--allow-other'], {}, /--allow-other: only the native engine can/],
    [['--engine', 'fuse-native', '--allow-other'], {}, /--allow-other: only the native engine/],
    [['--allow-other'], NO_KEEPER, /not engine fuse-native; the keeper .* is missing: build it/],
  ]
  for (const [words, env, message] of rows) {
    it(words.join(' '), async (t) => {
      const sh = shell(t)
      const { code, stderr } = await sh.run(['mount', 'm', ...words], env)
      assert.match(stderr, message)
      assert.equal(code, 5)
      assert.deepEqual(readdirSync(sh.base), ['home'])
    })
  }

  it('--read-only where /dev/fuse is missing', needsRoot, async (t) => {
    const sh = shell(t)
    const { code, stderr } = await runWithoutFuse(sh, ['mount', 'm', '--read-only'])
    assert.match(stderr, /--read-only: .* not engine none; \/dev\/fuse is missing: load it/)
    assert.equal(code, 5)
    assert.deepEqual(readdirSync(sh.base), ['home'])
  })
})

describe('doctor', () => {
  it('says of each engine whether this machine can have it', async (t) => {
    const { code, stdout } = await shell(t).run(['doctor', '--json'])
    const states = new Map(
      (JSON.parse(stdout) as { check: string; state: string }[]).map((one) => [
        one.check,
        one.state,
      ]),
    )
    const engines = ['native', 'fuse-native', 'none'].map((name) => states.get(name))
    assert.deepEqual(engines, ['ok', 'ok', 'ok'])
    assert.equal(code, 0)
  })

  it('warns of a missing keeper, since the portable engine is left', async (t) => {
    const { code, stdout } = await shell(t).run(['doctor'], NO_KEEPER)
    assert.match(stdout, /^warn +native +the keeper .* is missing\n +build it with `npm start`/m)
    assert.match(stdout, /^ok +fuse-native/m)
    assert.equal(code, 0)
  })

  it('fails without /dev/fuse, and says what is left', needsRoot, async (t) => {
    const { code, stdout } = await runWithoutFuse(shell(t), ['doctor'])
    assert.match(stdout, /^fail +native +\/dev\/fuse is missing$/m)
    assert.match(stdout, /^fail +fuse-native +\/dev\/fuse is missing$/m)
    assert.match(stdout, /^warn +none +a link to the files is what is left: nothing is fetched/m)
    assert.equal(code, 5)
  })
})

describe('what a mount without a keeper leaves in its store', () => {
  it('is the mark of who serves it, until it ends', async (t) => {
    const live = liveShell(t, 'm', 'none')
    const { mode, uid, gid } = lstatSync(live.mountpoint)
    await live.mount()
    const mark = join(live.store, 'run/serving.json')
    assert.deepEqual(JSON.parse(readFileSync(mark, 'utf8')), {
      engine: 'none',
      mountpoint: live.mountpoint,
      directory: { mode: mode & 0o7777, uid, gid },
    })
    await live.run(['unmount', 'm'])
    assert.deepEqual(readdirSync(join(live.store, 'run')), [])
  })
})
