import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { tempDir } from '../support/index.ts'
import { type Hub, startHub } from './index.ts'

const WEIGHTS = Buffer.alloc(100_000, 'weights')
const SHA256 = createHash('sha256').update(WEIGHTS).digest('hex')

async function hubWithModel(t: TestContext): Promise<{ hub: Hub; sha: string }> {
  const root = tempDir(t)
  const model = join(root, 'owner/name')
  mkdirSync(join(model, 'sub'), { recursive: true })
  writeFileSync(join(model, 'config.json'), '{}')
  writeFileSync(join(model, 'model.safetensors'), WEIGHTS)
  for (let index = 0; index < 60; index += 1) writeFileSync(join(model, `sub/${index}.txt`), 'x')
  const hub = await startHub(root)
  t.after(() => hub.close())
  return { hub, sha: await hub.publish('owner/name', model) }
}

test('names small files by git SHA-1 and sends what is in LFS to another host', async (t) => {
  const { hub, sha } = await hubWithModel(t)
  const small = await fetch(`${hub.url}/owner/name/resolve/main/config.json`, { method: 'HEAD' })
  assert.equal(small.headers.get('x-repo-commit'), sha)
  assert.equal(small.headers.get('etag'), '"9e26dfeeb6e641a33dae4961196235bdb965b21b"')
  const large = `${hub.url}/owner/name/resolve/${sha}/model.safetensors`
  const moved = await fetch(large, { redirect: 'manual' })
  assert.equal(moved.status, 302)
  assert.equal(moved.headers.get('x-linked-etag'), `"${SHA256}"`)
  assert.equal(moved.headers.get('x-linked-size'), String(WEIGHTS.length))
  const whole = await fetch(large)
  assert.ok(Buffer.from(await whole.arrayBuffer()).equals(WEIGHTS))
  assert.equal(hub.bytesServed(), WEIGHTS.length)
})

test('answers ranges with 206 and what lies behind the end with 416', async (t) => {
  const { hub } = await hubWithModel(t)
  const get = (range: string) =>
    fetch(`${hub.url}/owner/name/resolve/main/model.safetensors`, { headers: { range } })
  const part = await get('bytes=10-19')
  assert.equal(part.status, 206)
  assert.equal(part.headers.get('content-range'), `bytes 10-19/${WEIGHTS.length}`)
  assert.ok(Buffer.from(await part.arrayBuffer()).equals(WEIGHTS.subarray(10, 20)))
  const tail = await get('bytes=-5')
  assert.ok(Buffer.from(await tail.arrayBuffer()).equals(WEIGHTS.subarray(-5)))
  const behind = await get(`bytes=${WEIGHTS.length}-`)
  assert.equal(behind.status, 416)
  await behind.arrayBuffer()
})

test('says of what is missing whether it is the file, the revision or the repository', async (t) => {
  const { hub, sha } = await hubWithModel(t)
  for (const [path, code, commit] of [
    ['owner/name/resolve/main/none', 'EntryNotFound', sha],
    ['owner/name/resolve/none/config.json', 'RevisionNotFound', null],
    ['owner/none/resolve/main/config.json', 'RepoNotFound', null],
  ] as const) {
    const answer = await fetch(`${hub.url}/${path}`)
    await answer.arrayBuffer()
    assert.equal(answer.headers.get('x-error-code'), code)
    assert.equal(answer.headers.get('x-repo-commit'), commit)
  }
})

test('lists a tree in pages', async (t) => {
  const { hub, sha } = await hubWithModel(t)
  const paths: string[] = []
  let next: string | undefined = `${hub.url}/api/models/owner/name/tree/${sha}?recursive=true`
  let pages = 0
  while (next !== undefined) {
    const answer: Response = await fetch(next)
    for (const { path } of (await answer.json()) as { path: string }[]) paths.push(path)
    next = /<([^>]+)>; rel="next"/.exec(answer.headers.get('link') ?? '')?.[1]
    pages += 1
  }
  assert.equal(pages, 2)
  assert.equal(paths.length, 63)
  assert.equal(new Set(paths).size, 63)
})

test('cuts a connection where it was told to, once', async (t) => {
  const { hub } = await hubWithModel(t)
  hub.rules.cut = { afterBytes: 50_000, times: 1 }
  const url = `${hub.url}/owner/name/resolve/main/model.safetensors`
  await assert.rejects(async () => (await fetch(url)).arrayBuffer())
  assert.equal((await (await fetch(url)).arrayBuffer()).byteLength, WEIGHTS.length)
})
