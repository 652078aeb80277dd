import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { type IncomingHttpHeaders, request } from 'node:http'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { CID } from 'multiformats/cid'
import { decodeCommit, listDirectory } from '../../src/dag/index.ts'
import { readRecord } from '../../src/tree/index.ts'
import { followRoot, openFollower } from '../hydrate/follower.ts'
import { openOrigin, shareOf } from '../hydrate/origin.ts'
import { waitFor } from '../support/index.ts'

const MIB = 1024 * 1024

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers, method, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode: status = 0, headers: head } = response
        resolve({ status, headers: head, body: Buffer.concat(chunks) })
      })
    })
    asked.on('error', reject)
    asked.end()
  })
}

/** A share of one directory with `files`. */
async function shared(t: TestContext, files: Record<string, Uint8Array>) {
  const origin = await openOrigin(t)
  for (const [name, bytes] of Object.entries(files)) {
    await writeFile(join(origin.paths.tree, name), bytes)
  }
  const { root, tree } = await origin.commit()
  const { address } = await origin.share.open()
  const cids = new Map<string, CID>()
  for await (const entry of listDirectory((cid) => origin.blocks.getBytes(cid), tree)) {
    cids.set(entry.name, entry.cid)
  }
  const cidOf = (name: string) => cids.get(name)?.toString() ?? assert.fail(`no ${name}`)
  return { origin, root, tree, address, cidOf }
}

describe('what a share answers', () => {
  const model = randomBytes(2 * MIB + 100)

  test('tells its root', async (t) => {
    const { address, root, tree } = await shared(t, { model })
    const { status, body } = await get(`${address}/root`)
    assert.equal(status, 200)
    const told = JSON.parse(body.toString())
    assert.equal(told.root, root.toString())
    assert.equal(told.tree, tree.toString())
    assert.equal(told.sequence, 1)
  })

  test('serves blocks as a trustless gateway does', async (t) => {
    const { address, root, tree, cidOf } = await shared(t, { model })
    for (const cid of [root.toString(), tree.toString(), cidOf('model')]) {
      const { status, headers, body } = await get(`${address}/ipfs/${cid}?format=raw`)
      assert.equal(status, 200)
      assert.equal(headers['content-type'], 'application/vnd.ipld.raw')
      assert.deepEqual(
        createHash('sha256').update(body).digest(),
        Buffer.from(CID.parse(cid).multihash.digest),
      )
    }
    const accepted = await get(`${address}/ipfs/${tree}`, { accept: 'application/vnd.ipld.raw' })
    assert.equal(accepted.status, 200)
  })

  test('serves a whole file and says how long it is', async (t) => {
    const { address, cidOf } = await shared(t, { model })
    const { status, headers, body } = await get(`${address}/ipfs/${cidOf('model')}`)
    assert.equal(status, 200)
    assert.equal(headers['content-length'], String(model.length))
    assert.equal(headers['accept-ranges'], 'bytes')
    assert.ok(body.equals(model))
    const head = await get(`${address}/ipfs/${cidOf('model')}`, { range: 'bytes=0-1' }, 'HEAD')
    assert.equal(head.status, 200)
    assert.equal(head.headers['content-length'], String(model.length))
    assert.equal(head.body.length, 0)
  })

  const ranges: [string, number, number][] = [
    ['bytes=0-0', 0, 1],
    [`bytes=${MIB - 1}-${MIB}`, MIB - 1, MIB + 1],
    [`bytes=5-`, 5, model.length],
    ['bytes=-7', model.length - 7, model.length],
    [`bytes=-${model.length + 5}`, 0, model.length],
    [`bytes=10-${model.length + 50}`, 10, model.length],
    [`bytes=${model.length - 1}-`, model.length - 1, model.length],
  ]
  test('serves exactly the range that is asked for', async (t) => {
    const { address, cidOf } = await shared(t, { model })
    for (const [range, start, end] of ranges) {
      const { status, headers, body } = await get(`${address}/ipfs/${cidOf('model')}`, { range })
      assert.equal(status, 206, range)
      assert.equal(headers['content-range'], `bytes ${start}-${end - 1}/${model.length}`)
      assert.equal(headers['content-length'], String(end - start))
      assert.ok(body.equals(model.subarray(start, end)), range)
    }
    for (const range of [`bytes=${model.length}-`, 'bytes=-0', `bytes=${model.length + 9}-`]) {
      const { status, headers } = await get(`${address}/ipfs/${cidOf('model')}`, { range })
      assert.equal(status, 416, range)
      assert.equal(headers['content-range'], `bytes */${model.length}`)
    }
    for (const range of ['bytes=5-3', 'bytes=-', 'items=0-1', 'bytes=0-1,4-5', 'bytes=a-b']) {
      const { status, body } = await get(`${address}/ipfs/${cidOf('model')}`, { range })
      assert.equal(status, 200, range)
      assert.equal(body.length, model.length)
    }
    const other = { range: 'bytes=0-1', 'if-range': '"something else"' }
    assert.equal((await get(`${address}/ipfs/${cidOf('model')}`, other)).status, 200)
  })

  test('serves small and empty files', async (t) => {
    const { address, cidOf } = await shared(t, { one: Buffer.from('x'), empty: Buffer.alloc(0) })
    assert.equal((await get(`${address}/ipfs/${cidOf('one')}`)).body.toString(), 'x')
    const empty = await get(`${address}/ipfs/${cidOf('empty')}`)
    assert.deepEqual([empty.status, empty.headers['content-length']], [200, '0'])
    const asked = await get(`${address}/ipfs/${cidOf('empty')}`, { range: 'bytes=0-' })
    assert.equal(asked.status, 416)
  })

  test('refuses what it does not serve', async (t) => {
    const { address, tree, cidOf } = await shared(t, { model })
    const base = new URL(address).origin
    const wrong = address.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))
    const file = cidOf('model')
    const cases: [string, number, Record<string, string>?, string?][] = [
      [`${base}/`, 404],
      [`${base}/ipfs/${file}`, 404],
      [`${base}/t/`, 404],
      [`${base}/t/${'A'.repeat(43)}/root`, 404],
      [`${wrong}/root`, 404],
      [`${wrong}/ipfs/${file}`, 404, {}, 'POST'],
      [`${address}`, 404],
      [`${address}/ipfs/`, 400],
      [`${address}/ipfs/nonsense`, 400],
      [`${address}/ipfs/${file}/name`, 404],
      [`${address}/ipfs/${tree}`, 400],
      [`${address}/root`, 405, {}, 'PUT'],
      [`${address}/root`, 403, { host: 'evil.example' }],
      [`${address}/root`, 403, { host: '127.0.0.1.evil.example:80' }],
      [`${address}/root`, 200, { host: 'localhost:1' }],
      [`${address}/root`, 200, { host: '[::1]:1' }],
    ]
    for (const [url, status, headers, method] of cases) {
      assert.equal((await get(url, headers, method)).status, status, `${method ?? 'GET'} ${url}`)
    }
  })
})

describe('what a share keeps to itself', () => {
  test('a settled file that is in no commit, by any of its blocks', async (t) => {
    const { origin, address } = await shared(t, { model: Buffer.from('weights') })
    await writeFile(join(origin.paths.tree, 'token'), 'hf_secretsecret')
    await writeFile(join(origin.paths.tree, 'later'), randomBytes(2 * MIB))
    for (const name of ['token', 'later']) {
      const { cid } = await origin.settle(name)
      assert.equal((await get(`${address}/ipfs/${cid}`)).status, 404)
      assert.equal((await get(`${address}/ipfs/${cid}?format=raw`)).status, 404)
    }
    const later = await readFile(join(origin.paths.tree, 'later'))
    const leaf = await origin.settle('later')
    const first = createHash('sha256').update(later.subarray(0, MIB)).digest()
    const places = await origin.database.leaves.find(first)
    assert.equal(places.length, 1)
    const leafCid = CID.createV1(0x55, { ...leaf.cid.multihash, ...digestOf(first) })
    assert.equal((await get(`${address}/ipfs/${leafCid}?format=raw`)).status, 404)
    await rm(join(origin.paths.tree, 'token'))
    await origin.commit()
    assert.equal((await get(`${address}/ipfs/${leafCid}?format=raw`)).status, 200)
    assert.ok((await get(`${address}/ipfs/${leaf.cid}`)).body.equals(later))
  })

  test('what only a root held that is not kept any more', async (t) => {
    const { origin, address, cidOf, root } = await shared(t, { old: Buffer.from('old') })
    const old = cidOf('old')
    await rm(join(origin.paths.tree, 'old'))
    await origin.commit()
    assert.equal((await get(`${address}/ipfs/${old}`)).status, 200)
    assert.equal((await get(`${address}/ipfs/${root}?format=raw`)).status, 200)
    origin.roots.length = 1
    assert.equal((await get(`${address}/ipfs/${old}`)).status, 404)
    assert.equal((await get(`${address}/ipfs/${root}?format=raw`)).status, 404)
  })

  test('bytes that are not what they were: the leaf is missing', async (t) => {
    const model = randomBytes(3 * MIB)
    const { origin, address, cidOf } = await shared(t, { model })
    await writeFile(join(origin.paths.tree, 'model'), randomBytes(10), { flag: 'r+' })
    assert.equal((await get(`${address}/ipfs/${cidOf('model')}`)).status, 404)
    const rest = { range: `bytes=${MIB}-` }
    assert.ok(
      (await get(`${address}/ipfs/${cidOf('model')}`, rest)).body.equals(model.subarray(MIB)),
    )
    await truncate(join(origin.paths.tree, 'model'), MIB + 10)
    // The head has gone out when the missing leaf is met: only a broken connection is honest.
    await assert.rejects(
      get(`${address}/ipfs/${cidOf('model')}`, { range: `bytes=${MIB}-` }).then((answer) => {
        if (answer.status === 404) {
          throw new Error('missing')
        }
      }),
    )
  })
})

describe('the address of a share', () => {
  test('stays the same when the daemon starts again, and is kept for its owner only', async (t) => {
    const { origin, address } = await shared(t, { a: Buffer.from('a') })
    assert.match(address, /^http:\/\/127\.0\.0\.1:\d+\/t\/[\w-]{43}$/)
    assert.equal((await stat(origin.paths.share)).mode & 0o777, 0o600)
    await origin.share.close()
    await assert.rejects(get(`${address}/root`), { code: 'ECONNREFUSED' })
    const again = shareOf(origin, origin.roots, () => undefined)
    t.after(() => again.close())
    assert.equal((await again.resume())?.address, address)
    assert.equal((await again.open()).address, address)
    assert.equal((await get(`${address}/root`)).status, 404)
  })

  test('is not opened again where none was open', async (t) => {
    const origin = await openOrigin(t)
    assert.equal(await origin.share.resume(), undefined)
    assert.deepEqual(origin.share.listening(), [])
  })

  test('can be chosen, and a port that is taken is an error', async (t) => {
    const { origin, address } = await shared(t, {})
    const taken = Number(new URL(address).port)
    const other = await openOrigin(t)
    await assert.rejects(other.share.open({ port: taken }), { code: 'port-in-use' })
    await assert.rejects(other.share.open({ port: 70_000 }), { code: 'bad-port', exitCode: 2 })
    await assert.rejects(other.share.open({ token: 'short' }), { code: 'bad-token', exitCode: 2 })
    const token = 'x'.repeat(43)
    assert.ok((await other.share.open({ token })).address.endsWith(token))
    assert.equal(origin.share.listening().length, 1)
  })

  test('a damaged share.json is an error that says what to do', async (t) => {
    const origin = await openOrigin(t)
    await writeFile(origin.paths.share, '{"token":')
    await assert.rejects(origin.share.open(), { code: 'bad-share-file', message: /remove it/ })
  })
})

describe('a share of a follower', () => {
  test('serves what it has of a root, and what it gets later', async (t) => {
    const model = randomBytes(2 * MIB)
    const origin = await openOrigin(t)
    await mkdir(join(origin.paths.tree, 'd'))
    await writeFile(join(origin.paths.tree, 'd', 'model'), model)
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    await follower.list('')
    const share = shareOf(follower, [root], () => undefined)
    t.after(() => share.close())
    const { address } = await share.open()
    assert.equal((await get(`${address}/ipfs/${root}?format=raw`)).status, 200)
    const directory = readRecord(follower.at('d'))?.cid ?? assert.fail()
    assert.equal((await get(`${address}/ipfs/${directory}?format=raw`)).status, 404)
    await follower.list('d')
    await waitFor('the directory to be served', async () => {
      return (await get(`${address}/ipfs/${directory}?format=raw`)).status === 200
    })
    const file = readRecord(follower.at('d/model'))?.cid ?? assert.fail()
    await follower.fill('d/model', 0, 10)
    assert.equal((await get(`${address}/ipfs/${file}`)).status, 404, 'a placeholder has no leaves')
  })
})

describe('a tree that goes deeper', () => {
  test('is reachable from its commit, links and directories too', async (t) => {
    const origin = await openOrigin(t)
    const deep = join(origin.paths.tree, 'a', 'b')
    await mkdir(deep, { recursive: true })
    await writeFile(join(deep, 'file'), 'deep')
    await symlink('b/file', join(origin.paths.tree, 'a', 'link'))
    const { root } = await origin.commit()
    const { address } = await origin.share.open()
    const fetched = async (cid: CID) => {
      const { status, body } = await get(`${address}/ipfs/${cid}?format=raw`)
      assert.equal(status, 200)
      return new Uint8Array(body)
    }
    const seen: string[] = []
    const visit = async (directory: CID): Promise<void> => {
      for await (const { name, cid } of listDirectory(fetched, directory)) {
        seen.push(name)
        if (['a', 'b'].includes(name)) {
          await visit(cid)
        } else {
          await fetched(cid)
        }
      }
    }
    const { tree, meta } = decodeCommit(await fetched(root))
    await fetched(meta)
    await visit(tree)
    assert.deepEqual(seen.sort(), ['a', 'b', 'file', 'link'])
  })
})

function digestOf(digest: Uint8Array) {
  const bytes = new Uint8Array([0x12, 0x20, ...digest])
  return { code: 0x12, size: 32, digest: new Uint8Array(digest), bytes }
}
