import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  modelcache,
  modelcacheOk,
  tempDir,
  withMount,
} from '../support/index.ts'

const RAW = 0x55
const SHA2_256 = 0x12

/** Letters and digits as tokens have them; other ones in each run. */
function random(length: number): string {
  return randomBytes(length * 2)
    .toString('base64')
    .replace(/[^A-Za-z0-9]/g, '')
    .slice(0, length - 2)
    .concat('a1')
}

/** Where each client keeps its secret, and in what form. */
const PLACES: readonly [path: string, content: (secret: string) => string, secret: () => string][] =
  [
    ['token', (secret) => secret, () => `hf_${random(34)}`],
    ['huggingface/token', (secret) => `${secret}\n`, () => `hf_${random(34)}`],
    ['stored_tokens', (secret) => `[me]\nhf_token = ${secret}\n`, () => `hf_${random(34)}`],
    ['.netrc', (secret) => `machine host login me password ${secret}\n`, () => random(30)],
    ['.git-credentials', (secret) => `https://me:${secret}@host\n`, () => `ghp_${random(36)}`],
    ['.config/gh/hosts.yml', (secret) => `oauth_token: ${secret}\n`, () => `gho_${random(36)}`],
    ['.aws/credentials', (secret) => `aws_access_key_id = ${secret}\n`, () => `AKIA7Q${upper(14)}`],
    [
      '.docker/config.json',
      (secret) => `{"auths":{"host":{"auth":"${secret}"}}}`,
      () => random(40),
    ],
    ['kaggle.json', (secret) => `{"username":"me","key":"${secret}"}`, () => random(32)],
    ['.env', (secret) => `OPENAI_API_KEY=${secret}\n`, () => `sk-proj-${random(48)}`],
    ['.ssh/id_ed25519', (secret) => privateKey(secret), () => random(60)],
    ['server.key', (secret) => privateKey(secret), () => random(60)],
    ['.config/wandb/settings', (secret) => `api_key = ${secret}\n`, () => random(40)],
    ['.cargo/credentials.toml', (secret) => `token = "${secret}"\n`, () => random(34)],
  ]
/** Of these the content says what they are, whatever their name is. */
const KNOWN_BY_CONTENT = /^(hf_|gh[po]_|AKIA|sk-)|^.{60}$/

function upper(length: number): string {
  return random(length).toUpperCase()
}

function privateKey(secret: string): string {
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${secret}\n-----END OPENSSH PRIVATE KEY-----\n`
}

function cidOf(content: string): string {
  const digest = createHash('sha256').update(content).digest()
  return CID.createV1(RAW, createDigest(SHA2_256, digest)).toString()
}

/** Files below a folder that hold any of these texts. */
function filesWith(folder: string, texts: readonly string[]): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => {
    const path = join(folder, name)
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false
    const bytes = readFileSync(path)
    return texts.some((text) => bytes.includes(text))
  })
}

/** What the share answers for a block, and for a file, of this CID. */
async function statuses(address: string, cid: string): Promise<number[]> {
  const answers = await Promise.all(
    ['', '?format=raw'].map((query) => fetch(`${address}/ipfs/${cid}${query}`)),
  )
  for (const answer of answers) await answer.arrayBuffer()
  return answers.map(({ status }) => status)
}

async function commandLines({ status }: Mount): Promise<string> {
  const { pid, keeperPid } = await status()
  return [pid, keeperPid].map((one) => readFileSync(`/proc/${one}/cmdline`, 'utf8')).join('\n')
}

/** What `export` writes. */
async function exported(t: Parameters<typeof tempDir>[0], mount: Mount): Promise<Buffer> {
  const car = join(await tempDir(t), 'cache.car')
  await modelcacheOk(['export', mount.mountpoint, car], mount)
  return readFileSync(car)
}

describe('the secrets of clients', () => {
  for (const engine of FUSE_ENGINES) {
    it(`${engine}: stay on this machine, under every name`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      const at = (path: string) => join(mount.mountpoint, path)
      mkdirSync(at('plain'))
      const canaries = PLACES.map(([path, contentOf, secretOf], number) => {
        const secret = secretOf()
        const content = contentOf(secret)
        mkdirSync(dirname(at(path)), { recursive: true })
        writeFileSync(at(path), content, { mode: 0o600 })
        linkSync(at(path), at(`plain/link-${number}`))
        symlinkSync(join('..', path), at(`plain/symlink-${number}`))
        if (KNOWN_BY_CONTENT.test(secret)) {
          copyFileSync(at(path), at(`plain/copy-${number}.txt`))
        }
        return { secret, content, number }
      })
      writeFileSync(at('public'), 'for everybody')
      const { root, open } = await mount.commitAll()
      assert.deepEqual(open, [])
      const { withheld } = await mount.status()
      const copies = readdirSync(at('plain')).filter((name) => name.startsWith('copy-'))
      assert.ok(copies.length >= 8)
      for (const name of copies) {
        const found = withheld.find(({ path }) => path === `plain/${name}`)
        assert.match(found?.reason ?? '', /seems to hold a/, name)
      }
      const page = await modelcache(['status', mount.mountpoint], { env: mount.env })
      assert.match(page.stdout, /^ +withheld +plain\/.*(seems to hold|name of a secret)/m)

      const { address } = await mount.share()
      const other = await withMount(t, { args: ['--from', root, '--peer', address] })
      const there = readdirSync(other.mountpoint, { recursive: true, encoding: 'utf8' })
      assert.equal(readFileSync(join(other.mountpoint, 'public'), 'utf8'), 'for everybody')
      assert.deepEqual(
        there.filter((name) => /link-\d|copy-\d|token|credential|\.env|\.key$/.test(name)),
        [],
      )
      for (const { content } of canaries) {
        assert.deepEqual(await statuses(address, cidOf(content)), [404, 404])
      }
      assert.deepEqual(await statuses(address, cidOf('for everybody')), [200, 200])

      const texts = canaries.map(({ secret }) => secret)
      assert.deepEqual(filesWith(other.store, texts), [])
      for (const folder of ['nodes', 'log', 'extents', 'db']) {
        assert.deepEqual(filesWith(join(mount.store, folder), texts), [], folder)
      }
      const car = await exported(t, mount)
      assert.ok(car.includes('for everybody'))
      assert.deepEqual(
        texts.filter((text) => car.includes(text)),
        [],
      )
      const commits = readFileSync(join(mount.store, 'commits'), 'utf8')
      const lines = `${commits}${await commandLines(mount)}${await commandLines(other)}`
      assert.deepEqual(
        texts.filter((text) => lines.includes(text)),
        [],
      )
    })
  }
})

describe('what becomes a secret after it was in a root', () => {
  it('is in the next one no more, and is not served of the one before', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t)
    const at = (path: string) => join(mount.mountpoint, path)
    writeFileSync(at('notes'), 'not a secret yet')
    writeFileSync(at('public'), 'for everybody')
    const { root, tree } = await mount.commitAll()
    await modelcacheOk(['pin', mount.mountpoint, '--root', root], mount)
    const { address } = await mount.share()
    assert.deepEqual(await statuses(address, cidOf('not a secret yet')), [200, 200])

    renameSync(at('notes'), at('token'))
    await mount.commitAll()
    renameSync(at('token'), at('notes'))
    const after = await mount.commitAll()
    assert.notEqual(after.tree, tree)
    assert.deepEqual(await statuses(address, cidOf('not a secret yet')), [404, 404])
    assert.deepEqual(await statuses(address, cidOf('for everybody')), [200, 200])
    const car = join(await tempDir(t), 'older.car')
    const words = ['export', mount.mountpoint, car, '--root', root]
    const { code, stderr } = await modelcache(words, mount)
    assert.match(stderr, /notes became a secret after it was in this root/)
    assert.deepEqual([code, existsSync(car)], [1, false])
    assert.equal((await exported(t, mount)).includes('not a secret yet'), false)
  })
})

describe('--local-only', () => {
  it('keeps names out from then on, in later mounts too, and no earlier root is served', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t)
    const at = (path: string) => join(mount.mountpoint, path)
    mkdirSync(at('dir'))
    writeFileSync(at('dir/x.private'), 'mine alone')
    writeFileSync(at('public'), 'for everybody')
    const before = await mount.commitAll()
    const { address } = await mount.share()
    assert.deepEqual(await statuses(address, cidOf('mine alone')), [200, 200])
    await mount.unmount()

    await mount.mount(['--local-only', '*.private', '--local-only', '/later/'])
    const { root } = await mount.commitAll()
    assert.notEqual(root, before.root)
    const again = await mount.share()
    assert.deepEqual(await statuses(again.address, cidOf('mine alone')), [404, 404])
    assert.deepEqual(await statuses(again.address, before.tree), [404, 404])
    const words = ['export', mount.mountpoint, `${mount.store}.car`, '--root', before.root]
    const refused = await modelcache(words, mount)
    assert.match(refused.stderr, /names in it were made local-only since/)
    const other = await withMount(t, { args: ['--from', root, '--peer', again.address] })
    assert.deepEqual(readdirSync(other.mountpoint, { recursive: true }).toSorted(), [
      'dir',
      'public',
    ])
    await other.unmount()
    await mount.unmount()

    await mount.mount()
    assert.equal((await mount.commitAll()).root, root)
    assert.equal((await mount.status()).settle.hashedBytes, 0)
    mkdirSync(at('later'))
    writeFileSync(at('later/y'), 'mine, too')
    renameSync(at('dir/x.private'), at('dir/x'))
    const last = await mount.commitAll()
    const third = await withMount(t, {
      args: ['--from', last.root, '--peer', (await mount.share()).address],
    })
    assert.deepEqual(readdirSync(third.mountpoint, { recursive: true }).toSorted(), [
      'dir',
      'public',
    ])
  })

  it('refuses what is no pattern', async (t) => {
    const mount = await withMount(t)
    const { env } = mount
    for (const [pattern, why] of [
      ['', /it is empty/],
      ['two\nlines', /line break/],
      ['# comment', /comment/],
    ] as const) {
      const { code, stderr } = await modelcache(['mount', 'm', '--local-only', pattern], { env })
      assert.match(stderr, /--local-only .*give a pattern as in \.gitignore/)
      assert.match(stderr, why)
      assert.equal(code, 2)
    }
  })
})
