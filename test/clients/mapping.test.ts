import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { controlClient } from '../../src/daemon/index.ts'
import {
  FUSE_ENGINES,
  has,
  modelcache,
  repositoryRoot,
  scrubbedEnvironment,
  start,
  tempDir,
  waitFor,
  withMount,
} from '../support/index.ts'
import { openOfflineRoots } from './offline-roots.ts'

const PROGRAM = join(repositoryRoot, 'test/clients/python/store_through_mapping.py')
const RACE = join(repositoryRoot, 'test/clients/python/map_race.py')
const SIZE_BYTES = 4 * 1024 * 1024

for (const engine of FUSE_ENGINES) {
  test(`${engine}: a store through a mapping after close never leaves a clean file with other bytes`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const base = tempDir(t)
    const mount = await withMount(t, { engine })
    const path = join(mount.mountpoint, 'mapped.bin')
    const mapper = start('python3', [PROGRAM, path, String(SIZE_BYTES)], {
      env: scrubbedEnvironment(join(base, 'home')),
      interactive: true,
    })
    t.after(() => mapper.kill())
    const says = (line: string) => waitFor(line, () => mapper.output().includes(`${line}\n`))

    for (let round = 1; round <= 5; round += 1) {
      // The program closed its descriptor before the first round: only the mapping writes.
      mapper.child.stdin.write(`store ${round}\n`)
      await says(`stored ${round}`)
      const committed = await mount.commit()
      const cid = await modelcache(['cid', path], { env: mount.env })
      if (cid.code === 0) {
        assert.fail(`round ${round}: clean while a writable mapping exists: ${cid.stdout}`)
      }
      assert.equal(cid.code, 4, cid.stderr)
      assert.ok(committed.dirty > 0 || committed.open.length > 0, JSON.stringify(committed))
    }
    mapper.child.stdin.write('unmap\n')
    await says('unmapped')
    const before = readFileSync(path)
    await mount.commitAll()
    const settled = await modelcache(['cid', path, '--json'], { env: mount.env })
    assert.equal(settled.code, 0, settled.stderr)

    // What is served elsewhere under that root are the last bytes stored through the mapping.
    const { root } = await mount.commitAll()
    const { address } = await mount.share()
    const second = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
    const elsewhere = readFileSync(join(second.mountpoint, 'mapped.bin'))
    assert.equal(digest(elsewhere), digest(before))
    assert.equal(elsewhere[0], 5)
  })

  test(`${engine}: a mapping made after the file was settled makes it dirty again`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const base = tempDir(t)
    const mount = await withMount(t, { engine })
    const path = join(mount.mountpoint, 'mapped.bin')
    const env = scrubbedEnvironment(join(base, 'home'))
    const cids = new Set<string>()
    for (let round = 1; round <= 3; round += 1) {
      const mapper = start('python3', [PROGRAM, path, String(SIZE_BYTES)], {
        env,
        input: `store ${round * 10}\nunmap\n`,
      })
      assert.equal((await mapper.finished).code, 0)
      await mount.commitAll()
      const { stdout } = await modelcache(['cid', path], { env: mount.env })
      cids.add(stdout.trim())
      assert.equal(readFileSync(path)[0], round * 10)
    }
    assert.equal(cids.size, 3, 'each round stored other bytes, so each has another CID')
  })

  test(`${engine}: stores through mappings race with commits, and the last commit has the last bytes`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const base = tempDir(t)
    const mount = await withMount(t, { engine })
    const rounds = process.env.MODELCACHE_TEST_LONG === '1' ? '60000' : '3000'
    const racer = start('python3', [RACE, mount.mountpoint, '6', rounds], {
      env: scrubbedEnvironment(join(base, 'home')),
    })
    let ended = false
    const finished = racer.finished.finally(() => {
      ended = true
    })
    const control = controlClient(mount.store)
    while (!ended) await control.call('commit', {})
    const { code, stdout, stderr } = await finished
    assert.equal(code, 0, stderr)
    const left = JSON.parse(stdout) as Record<string, string>
    const { tree } = await mount.commitAll()
    await mount.unmount()
    const offline = await openOfflineRoots(mount.store)
    t.after(() => offline.close())
    for (const { path, cid } of await offline.walk(tree)) {
      assert.equal((await offline.digestsOf(cid)).sha256, left[path], `${path} in the last root`)
    }
    assert.equal((await offline.walk(tree)).length, 6)
  })
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
