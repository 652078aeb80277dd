import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { mountpointsBelow, nodePath, start, waitFor } from '../support/index.ts'
import { MAIN } from './command.ts'
import { liveShell } from './live-mount.ts'

describe('commit and cid', () => {
  it('print CIDs alone on their lines', async (t) => {
    const live = liveShell(t)
    await live.mount()
    mkdirSync(join(live.mountpoint, 'hub'))
    writeFileSync(join(live.mountpoint, 'hub/one'), 'one')
    writeFileSync(join(live.mountpoint, 'hub/two'), 'two')
    symlinkSync('one', join(live.mountpoint, 'hub/link'))
    const commit = await live.run(['commit', 'm'])
    assert.match(commit.stdout, /^bafyrei[a-z2-7]+\n$/)
    assert.equal(commit.code, 0)

    const single = await live.run(['cid', 'm/hub/one'])
    assert.match(single.stdout, /^bafkrei[a-z2-7]+\n$/)
    const many = await live.run(['cid', 'm/hub/one', 'm/hub/link', 'm/hub/two', 'm/hub'])
    const lines = many.stdout.trimEnd().split('\n')
    assert.equal(lines.length, 4)
    assert.equal(lines[0], `${single.stdout.trim()}  m/hub/one`)
    assert.equal(lines[1], `${single.stdout.trim()}  m/hub/link`)
    const json = await live.run(['cid', 'm/hub', '--json'])
    const [answer] = JSON.parse(json.stdout)
    assert.equal(answer.path, 'm/hub')
    assert.equal(`${answer.cid}  m/hub`, lines[3])
  })

  it('say that a file which is being written is not settled', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const fd = openSync(join(live.mountpoint, 'growing'), 'w')
    try {
      writeFileSync(fd, 'half')
      const cid = await live.run(['cid', 'm/growing'])
      assert.deepEqual([cid.code, cid.stdout], [4, ''])
      const commit = await live.run(['commit', 'm', '--json'])
      assert.equal(commit.code, 0)
      assert.equal(JSON.parse(commit.stdout).dirty, 1)
      assert.match(commit.stderr, /not settled: growing/)
    } finally {
      closeSync(fd)
    }
  })
})

describe('run', () => {
  it('mounts, sets the environment, commits, unmounts and has the command’s exit code', async (t) => {
    const live = liveShell(t)
    const script = 'printf %s "$HF_HOME" > "$HF_HOME/where"; echo answer; exit 7'
    const words = ['run', '--mount', 'm', '--store', 's', '--', 'sh', '-c', script]
    const { code, stdout, stderr } = await live.run(words)
    assert.deepEqual([code, stdout, stderr], [7, 'answer\n', ''])
    assert.deepEqual(mountpointsBelow(live.base), [])
    assert.equal(readFileSync(join(live.store, 'tree/where'), 'utf8'), live.mountpoint)
    assert.match(readFileSync(join(live.store, 'commits'), 'utf8'), /"root"/)
  })

  it('leaves a mount that was there, and commits it', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const { code } = await live.run(['run', '--mount', 'm', '--', 'sh', '-c', 'echo x > m/x'])
    assert.equal(code, 0)
    assert.deepEqual(mountpointsBelow(live.base), [live.mountpoint])
    assert.equal((await live.status()).dirty.files, 0)
  })

  it('works from inside the mount', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const words = [MAIN, 'run', '--mount', '.', '--', 'sh', '-c', 'echo x > y']
    const { code } = await start(nodePath(), words, { env: live.env, cwd: live.mountpoint })
      .finished
    assert.equal(code, 0)
    assert.equal(readFileSync(join(live.mountpoint, 'y'), 'utf8'), 'x\n')
  })

  it('commits and unmounts when the command is killed, and exits 128 and its signal', async (t) => {
    const live = liveShell(t)
    const script = 'echo x > "$HF_HOME/x"; kill -9 $$'
    const words = ['run', '--mount', 'm', '--store', 's', '--', 'sh', '-c', script]
    assert.equal((await live.run(words)).code, 137)
    assert.deepEqual(mountpointsBelow(live.base), [])
    assert.match(readFileSync(join(live.store, 'commits'), 'utf8'), /"root"/)
  })

  it('hands SIGTERM on to the command', async (t) => {
    const live = liveShell(t)
    const script = 'trap "echo told; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
    const words = [MAIN, 'run', '--mount', 'm', '--store', 's', '--', 'sh', '-c', script]
    const running = start(nodePath(), words, { env: live.env, cwd: live.base })
    t.after(() => running.kill())
    await waitFor('the command', () => running.output().includes('ready'))
    running.child.kill('SIGTERM')
    const { code, stdout } = await running.finished
    assert.deepEqual([code, stdout], [5, 'ready\ntold\n'])
    assert.deepEqual(mountpointsBelow(live.base), [])
  })

  for (const [what, command, code] of [
    ['cannot be found', './nowhere', 127],
    ['is no program', './plain', 126],
  ] as const) {
    it(`exits ${code} when the command ${what}, and unmounts`, async (t) => {
      const live = liveShell(t)
      writeFileSync(join(live.base, 'plain'), 'x', { mode: 0o644 })
      const result = await live.run(['run', '--mount', 'm', '--store', 's', '--', command])
      assert.match(result.stderr, /^modelcache: run \.\//)
      assert.equal(result.code, code)
      assert.deepEqual(mountpointsBelow(live.base), [])
    })
  }
})

describe('places inside a mount', () => {
  it('are no place for a second mount’s store', async (t) => {
    const live = liveShell(t)
    await live.mount()
    const inside = await live.run(['mount', 'm2', '--store', 'm/s'])
    assert.match(inside.stderr, /--store ".*\/m\/s": it lies in the mount on .*\/m; give a store/)
    assert.equal(inside.code, 2)
  })
})

describe('a root that cannot be opened', () => {
  const ROOT = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'

  it('because no peer has it leaves nothing', async (t) => {
    const live = liveShell(t)
    const peer = 'http://127.0.0.1:9/t/abcdefghijklmnopqrstuvwxyz'
    const words = ['mount', 'copy', '--store', 'cs', '--from', ROOT, '--peer', peer]
    const { code, stdout, stderr } = await live.run(words)
    assert.match(stderr, new RegExp(ROOT))
    assert.equal(stderr.includes('abcdefghijklmnopqrstuvwxyz'), false)
    assert.equal(stdout, '')
    assert.ok(code === 1 || code === 5)
    assert.deepEqual(mountpointsBelow(live.base), [])
    for (const name of ['copy', 'cs']) {
      assert.throws(() => readFileSync(join(live.base, name)), { code: 'ENOENT' })
    }
  })
})

describe('share', () => {
  it('says what closed the gate, with exit code 5', async (t) => {
    const live = liveShell(t)
    await live.mount('--gate', 'closed')
    const { code, stdout, stderr } = await live.run(['share', 'm'])
    assert.match(stderr, /gate.*closed.*--gate closed/)
    assert.deepEqual([code, stdout], [5, ''])
  })

  it('prints one address, which a second mount opens', async (t) => {
    const live = liveShell(t)
    await live.mount()
    writeFileSync(join(live.mountpoint, 'model'), 'weights', { mode: 0o600 })
    const root = (await live.run(['commit', 'm'])).stdout.trim()
    const address = (await live.run(['share', 'm'])).stdout.trim()
    assert.match(address, /^http:\/\/127\.0\.0\.1:\d+\/t\/[\w-]+$/)
    const words = ['mount', 'copy', '--store', 'cs', '--from', root, '--peer', address]
    assert.equal((await live.run(words)).code, 0)
    assert.equal(readFileSync(join(live.base, 'copy/model'), 'utf8'), 'weights')
    assert.equal((await live.run(['unmount', 'copy'])).code, 0)
  })
})
