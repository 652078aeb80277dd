import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { NEEDED_RUST } from '../../bin/setup/system.mjs'
import { repositoryRoot, run, runOk, start, tempDir, waitFor } from '../support/index.ts'

const env = { PATH: process.env.PATH ?? '' }

/** A folder with set-up in it and nothing else. */
async function clone(t: TestContext): Promise<string> {
  const root = tempDir(t, 'modelcache-setup-')
  await cp(join(repositoryRoot, 'bin'), join(root, 'bin'), { recursive: true })
  writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  return root
}

/** Runs lines of a module that can import what set-up is made of. */
function script(root: string, lines: string): string[] {
  const path = join(root, 'script.mjs')
  writeFileSync(path, lines)
  return [path]
}

describe('set-up', () => {
  it('wants the Rust that the keeper is built with, and the documents say so', () => {
    const version = NEEDED_RUST.join('.')
    const text = (path: string) => readFileSync(join(repositoryRoot, path), 'utf8')
    assert.match(text('native/Cargo.toml'), new RegExp(`^rust-version = "${version}"$`, 'm'))
    assert.ok(text('README.md').includes(`Rust ${version} or later`))
  })

  it('is timed step by step, and said once, at the end of the tests that follow', async (t) => {
    const root = await clone(t)
    await cp(join(repositoryRoot, 'test/run'), join(root, 'test/run'), { recursive: true })
    const leave = script(
      root,
      `
      import { leaveTimes, timed } from './bin/setup/times.mjs'
      const done = []
      const times = await timed([['first', async () => done.push(1)], ['second', () => done.push(2)]])
      if (times.some(({ ms }) => !(ms >= 0)) || done.join() !== '1,2') throw new Error('not done')
      leaveTimes(times.map(({ name }, index) => ({ name, ms: 60_000 * (index + 1) })))`,
    )
    await runOk(process.execPath, leave, { env })
    const say = script(
      root,
      `
      import { takeTimes } from './bin/setup/times.mjs'
      import { minutesTable } from './test/run/minutes.mjs'
      const phases = [
        ['tests', 120_000, { passed: 3, failed: 1, skipped: 2 }],
        ['  base', 90_000, { passed: 3, failed: 1, skipped: 2 }],
      ]
      console.log(minutesTable(takeTimes(), phases).join('\\n'))`,
    )
    const table = (await runOk(process.execPath, say, { env })).stdout.trimEnd().split('\n')
    const ran = [
      '2.0  tests: 3 passed, 1 failed, 2 skipped',
      '1.5    base: 3 passed, 1 failed, 2 skipped',
    ]
    assert.deepEqual(
      table.map((line) => line.trimStart()),
      ['3.0  set-up', '1.0    first', '2.0    second', ...ran, '5.0  all of it'],
    )
    const again = (await runOk(process.execPath, say, { env })).stdout.trimEnd().split('\n')
    assert.deepEqual(
      again.map((line) => line.trimStart()),
      [...ran, '2.0  all of it'],
    )
  })

  it('runs once at a time: a second one waits and says for whom', async (t) => {
    const root = await clone(t)
    const lines = `
      import { existsSync } from 'node:fs'
      import { setTimeout } from 'node:timers/promises'
      import { withLock } from './bin/setup/lock.mjs'
      await withLock(async () => {
        console.log('in')
        while (!existsSync(process.argv[2])) await setTimeout(10)
        console.log('out')
      })`
    const go = join(root, 'go')
    const words = [...script(root, lines), go]
    const first = start(process.execPath, words, { env })
    t.after(() => first.kill())
    await waitFor('the first', () => first.output() === 'in\n')
    const second = start(process.execPath, words, { env })
    t.after(() => second.kill())
    const waiting: string[] = []
    second.child.stderr?.on('data', (text: string) => waiting.push(text))
    await waitFor('the second to wait', () => waiting.join('').includes(`process ${first.pid}`))
    assert.equal(second.output(), '')
    writeFileSync(go, '')
    assert.equal((await first.finished).stdout, 'in\nout\n')
    assert.equal((await second.finished).stdout, 'in\nout\n')
    assert.equal(existsSync(join(root, '.modelcache/setup.lock')), false)
  })

  it('takes over the lock of one that was killed', async (t) => {
    const root = await clone(t)
    mkdirSync(join(root, '.modelcache'))
    const dead = await run('true', [], { env })
    assert.equal(dead.code, 0)
    // The largest number that no process can have: pid_max is at most 2^22.
    writeFileSync(join(root, '.modelcache/setup.lock'), String(2 ** 22 + 1))
    const lines = `
      import { withLock } from './bin/setup/lock.mjs'
      await withLock(async () => console.log('in'))`
    assert.equal((await runOk(process.execPath, script(root, lines), { env })).stdout, 'in\n')
  })

  it('refuses a purpose that it does not know', async (t) => {
    const root = await clone(t)
    const words = [join(root, 'bin/setup.mjs'), '--for', 'fun']
    const { code, stderr } = await run(process.execPath, words, { env })
    assert.equal(stderr, 'set-up: --for fun: give start or test\n')
    assert.equal(code, 2)
  })

  it('knows changed sources by name and content, and nothing else', async (t) => {
    const root = await clone(t)
    const lines = `
      import { hashOf } from './bin/setup/progress.mjs'
      console.log(hashOf(['a', 'none'], 'salt'))`
    const hash = async () =>
      (await runOk(process.execPath, script(root, lines), { env })).stdout.trim()
    mkdirSync(join(root, 'a/b'), { recursive: true })
    writeFileSync(join(root, 'a/b/x'), '1')
    const first = await hash()
    writeFileSync(join(root, 'a/b/x'), '1')
    assert.equal(await hash(), first)
    writeFileSync(join(root, 'a/b/x'), '2')
    const second = await hash()
    assert.notEqual(second, first)
    writeFileSync(join(root, 'a/b/y'), '')
    assert.notEqual(await hash(), second)
  })

  it('hides from npm that it runs in a script of npm', async (t) => {
    const root = await clone(t)
    const lines = `
      import { toolEnvironment } from './bin/setup/progress.mjs'
      console.log(JSON.stringify(Object.keys(toolEnvironment()).filter((n) => n !== 'PATH').sort()))`
    const outer = {
      ...env,
      npm_lifecycle_event: 'start',
      npm_package_json: '/x',
      npm_config_local_prefix: '/x',
      npm_config_cache: '/c',
      INIT_CWD: '/x',
    }
    const { stdout } = await runOk(process.execPath, script(root, lines), { env: outer })
    assert.deepEqual(JSON.parse(stdout), ['npm_config_cache'])
  })
})

describe('set-up on a machine without Rust', () => {
  const lines = `
    import { provideKeeper } from './bin/setup/keeper.mjs'
    await provideKeeper()`

  /** Nothing but this Node can be found: no cargo, no compiler, no apt. */
  async function bare(t: TestContext) {
    const root = await clone(t)
    mkdirSync(join(root, 'programs'))
    symlinkSync(process.execPath, join(root, 'programs/node'))
    const bareEnv = { PATH: join(root, 'programs'), HOME: root }
    return { root, go: () => run(process.execPath, script(root, lines), { env: bareEnv }) }
  }

  it('goes on with the portable engine, says so, and does not try again', async (t) => {
    const { root, go } = await bare(t)
    const first = await go()
    assert.match(first.stderr, /^set-up: Rust 1\.88 or later \(no cargo here\) is needed to build/)
    assert.match(first.stderr, /^set-up: goes on without the keeper: .*\(fuse-native\)/m)
    assert.equal(first.code, 0)
    const second = await go()
    assert.match(second.stderr, /^set-up: no Rust yet; install it, or remove .*without-keeper/)
    assert.equal(second.code, 0)
    assert.equal(existsSync(join(root, '.modelcache/without-keeper')), true)
  })

  it('uses a keeper that somebody put there', async (t) => {
    const { root, go } = await bare(t)
    mkdirSync(join(root, 'native/target/release'), { recursive: true })
    writeFileSync(join(root, 'native/target/release/modelcache-keeper'), '')
    const { code, stderr } = await go()
    assert.match(stderr, /goes on with the keeper that is there/)
    assert.equal(code, 0)
  })

  it('refuses to run the tests, which need everything', async (t) => {
    const { root } = await bare(t)
    const strict = `
      import { provideRust } from './bin/setup/system.mjs'
      await provideRust()`
    const bareEnv = { PATH: join(root, 'programs'), HOME: root }
    const { code, stderr } = await run(process.execPath, script(root, strict), { env: bareEnv })
    assert.match(stderr, /install it with rustup/)
    assert.notEqual(code, 0)
  })
})

describe('the files of the house', () => {
  it('ignore what set-up makes', () => {
    const ignored = readFileSync(join(repositoryRoot, '.gitignore'), 'utf8').split('\n')
    for (const made of [
      'node_modules/',
      'dist/',
      'native/target/',
      '.toolchain/',
      '.modelcache/',
    ]) {
      assert.ok(ignored.includes(made), made)
    }
    assert.ok(ignored.includes('/model_cache'))
  })

  it('run in the checks what a person runs', () => {
    const script = readFileSync(join(repositoryRoot, '.ci/run'), 'utf8')
    assert.match(script, /^exec npm test$/m)
  })
})
