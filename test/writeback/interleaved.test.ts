import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import { CID } from 'multiformats/cid'
import { createNodeStore } from '../../src/blocks/index.ts'
import { type GetBlock, listDirectory, statNode } from '../../src/dag/index.ts'
import { fakeMount } from '../daemon/fake-mount.ts'
import type { FakeKeeper } from '../mount/fake-keeper.ts'
import { tempDir } from '../support/index.ts'

const RAW = 0x55
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** One download as huggingface_hub does it, a step at a time. */
function* download(keeper: FakeKeeper, repo: string, number: number): Generator<void> {
  const base = `hub/models--${repo}`
  const body = `model ${repo} ${number}`
  const blob = `${base}/blobs/${sha256(body)}`
  keeper.mkdir(`${base}/blobs`)
  yield
  keeper.mkdir(`${base}/snapshots/${number}`)
  yield
  keeper.write(`${base}/x.lock`, '')
  yield
  const writer = keeper.openWriter(`${blob}.incomplete`)
  writer.write(body.slice(0, 5))
  yield
  writer.write(body.slice(5))
  yield
  // Renamed before the writer's close is seen, as it happens through FUSE.
  keeper.rename(`${blob}.incomplete`, blob)
  yield
  keeper.symlink(`../../blobs/${sha256(body)}`, `${base}/snapshots/${number}/model.bin`)
  yield
  writer.close()
  yield
  keeper.write('token', `secret ${number}`)
  yield
}

interface Root {
  files: Map<string, CID>
  links: Map<string, string>
  directories: Set<string>
}

async function readRoot(getBlock: GetBlock, tree: string): Promise<Root> {
  const root: Root = { files: new Map(), links: new Map(), directories: new Set(['']) }
  const walk = async (cid: CID, path: string): Promise<void> => {
    for await (const entry of listDirectory(getBlock, cid)) {
      const child = path === '' ? entry.name : `${path}/${entry.name}`
      const stat =
        entry.cid.code === RAW ? { type: 'f' as const } : await statNode(getBlock, entry.cid)
      if (stat.type === 'd') {
        root.directories.add(child)
        await walk(entry.cid, child)
      } else if (stat.type === 'l') {
        root.links.set(child, stat.target ?? '')
      } else {
        root.files.set(child, entry.cid)
      }
    }
  }
  await walk(CID.parse(tree), '')
  return root
}

function checkRoot({ files, links, directories }: Root): void {
  for (const [path, target] of links) {
    const to = posix.join(posix.dirname(path), target)
    assert.ok(files.has(to) || links.has(to) || directories.has(to), `${path} dangles to ${target}`)
  }
  for (const [path, cid] of files) {
    assert.doesNotMatch(path, /\.lock$|\.incomplete$|^token$/)
    const hex = Buffer.from(cid.multihash.digest).toString('hex')
    assert.equal(hex, posix.basename(path), `${path} is half a file`)
  }
}

test('no root of a commit between any two steps of downloads has a dangling link, a half file, a lock or a token', async (t) => {
  const mount = await fakeMount(t)
  const { keeper } = mount
  let active: Generator<void>[] = []
  let started = 0
  const step = () => {
    if (active.length < 2 && started < 24) {
      started += 1
      active.push(download(keeper, `repo${started % 3}`, started))
    }
    active = active.filter((one) => one.next().done !== true)
  }
  for (const request of ['lease', 'settled', 'snapshot', 'unlink-objects']) {
    keeper.before.set(request, step)
  }
  for (let commits = 0; commits < 200 && (started < 24 || active.length > 0); commits += 1) {
    step()
    await mount.commit()
  }
  assert.equal(active.length, 0)
  keeper.before.clear()
  const last = await mount.commit()
  assert.equal(last.dirty, 0)
  const nodes = createNodeStore(mount.paths.nodes)
  const lines = readFileSync(mount.paths.commits, 'utf8').trim().split('\n')
  assert.ok(lines.length > 10)
  for (const line of lines) {
    const { tree } = JSON.parse(line) as { tree: string }
    checkRoot(await readRoot((cid) => nodes.getBytes(cid), tree))
  }
  const { files, links } = await readRoot((cid) => nodes.getBytes(cid), last.tree)
  assert.equal(files.size, 24)
  assert.equal(links.size, 24)
})

test('a kill at every request of a commit loses nothing', async (t) => {
  const mount = await fakeMount(t)
  const fill = (keeper: FakeKeeper) => {
    keeper.mkdir('dir')
    keeper.write('dir/a', 'a')
    keeper.write('dir/b', 'b'.repeat(2_000_000))
    keeper.write('c', 'c')
    keeper.symlink('c', 'link')
  }
  fill(mount.keeper)
  const expected = await mount.commit()
  await mount.drain()

  const steps = ['lease', 'lease', 'settled', 'settled', 'settled', 'snapshot', 'committed']
  const store = `${tempDir(t)}/store`
  let isNew = true
  for (const [index, step] of steps.entries()) {
    const victim = await fakeMount(t, { store, clean: isNew, restarts: index })
    if (isNew) {
      fill(victim.keeper)
      isNew = false
    } else {
      victim.keeper.write('dir/a', 'other')
      victim.keeper.write('dir/a', 'a')
    }
    const killed = Promise.withResolvers<void>()
    if (step === 'committed') {
      await victim.commit()
      await victim.kill()
      continue
    }
    victim.keeper.before.set(step, () => {
      victim.kill().then(killed.resolve)
      throw new Error('killed')
    })
    victim.commit().catch(() => {})
    await killed.promise
  }
  const last = await fakeMount(t, { store, clean: false })
  const answer = await last.commit()
  assert.equal(answer.dirty, 0)
  assert.equal(answer.tree, expected.tree)
  assert.equal(last.keeper.objects().length, 3)
})
