import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  classifyName,
  createNameClassifier,
  type EntryType,
  expectedDigest,
  looksLikeCredential,
} from '../../src/tree/index.ts'

const uuid = '123e4567-e89b-42d3-a456-426614174000'
const hex64 = 'ab'.repeat(32)

describe('names that stay on this machine', () => {
  const transient: [string, EntryType?][] = [
    [`hub/.locks/models--a--b/${hex64}.lock`],
    ['hub/.locks', 'd'],
    ['model.lock'],
    ['x.lock.soft'],
    ['x.lock.break.123.abcdef'],
    [`models--a--b/blobs/${hex64}.incomplete`],
    [`models--a--b/blobs/${hex64}.0a1b2c3d.incomplete`],
    ['datasets/x.incomplete/part/data.arrow'],
    [`models--a--b/tmp_${uuid}`],
    ['models--a--b/tmpa1b2_3d4/dummy_file_src'],
    ['tmpa1b2_3d4', 'd'],
    ['refs/main.0a1b2c3d.tmp'],
    ['trees/x.json.tmp'],
    ['org/model/onnx/model.onnx.tmp.1234.k3jx9'],
    ['xet/.shards.Ab3dE6gH9k.tmp'],
    ['inductor/.123.456.tmp'],
    [`triton/tmp.pid_12_${uuid}/kernel.cubin`],
    ['blobs/sha256-123456789'],
    [`blobs/sha256-${hex64}-partial`],
    [`blobs/sha256-${hex64}-partial-3`],
    ['model.gguf.downloadInProgress'],
    ['checkpoints/x.pth.0a1b2c.partial'],
    ['lfs/tmp/x.part'],
    ['.tmpAb3dE6'],
    ['__pycache__/x.cpython-311.pyc.140234567'],
    ['.write_probe'],
    ['.write_test'],
    ['.fuse_hidden0000abc'],
    ['.nfs000000000012'],
    ['socket', 'o'],
    ['xet/logs/xet_20260102.log'],
    ['xet/https___cas-ab12/chunk-cache/a/b'],
    ['huggingface/xet/ab12/staging', 'd'],
  ]
  for (const [path, type = 'f'] of transient) {
    it(`are ${path} (${type})`, () => {
      const result = classifyName(path, type)
      assert.ok(result.localOnly && !result.secret && result.reason !== '')
    })
  }

  it('are names that are not UTF-8', () => {
    assert.ok(classifyName(Uint8Array.of(0x66, 0xff), 'f').localOnly)
    assert.ok(classifyName('a\ud800b', 'f').localOnly)
  })
})

describe('secrets', () => {
  const secrets: [string, EntryType?][] = [
    ['token'],
    ['stored_tokens'],
    ['huggingface/token'],
    ['home/.cache/huggingface/token'],
    ['home/.huggingface/stored_tokens', 'l'],
    ['.netrc'],
    ['code/.env'],
    ['code/.env.local'],
    ['home/.ssh/config'],
    ['home/.ssh', 'd'],
    ['id_ed25519'],
    ['tls/server.key'],
    ['home/.docker/config.json'],
    ['.kaggle/kaggle.json'],
    ['home/.config/gcloud/credentials.db'],
  ]
  for (const [path, type = 'f'] of secrets) {
    it(`are ${path}`, () => {
      const result = classifyName(path, type)
      assert.ok(result.localOnly && result.secret)
    })
  }
})

describe('names that belong into a root', () => {
  const published: [string, EntryType?][] = [
    ['', 'd'],
    ['hub/models--a--b', 'd'],
    [`hub/models--a--b/blobs/${hex64}`],
    ['hub/models--a--b/refs/main'],
    ['hub/models--a--b/snapshots/0123/config.json', 'l'],
    ['hub/models--a--b/.no_exist/0123/added_tokens.json'],
    ['hub/CACHEDIR.TAG'],
    ['hub/version.txt'],
    ['models--a--b/snapshots/0123/token'],
    ['tokenizer.json'],
    ['special_tokens_map.json'],
    ['stored_tokens.json'],
    [`blobs/sha256-${hex64}`],
    ['tmp', 'd'],
    ['tmpfile.bin'],
    ['temp/model.dlc'],
    ['model.partial.onnx'],
    ['keyfile'],
    ['model.keys'],
    ['.environment'],
    ['modules/x/__pycache__/x.cpython-311.pyc'],
    ['Größe – с пробелом'],
    ['lockfile'],
    ['hub/models--a--b/snapshots/1/Cargo.lock', 'l'],
    ['repository/uv.lock'],
    ['repository/poetry.lock'],
    ['.gitignore'],
  ]
  for (const [path, type = 'f'] of published) {
    it(`are ${JSON.stringify(path)}`, () => {
      assert.deepEqual(classifyName(path, type), { localOnly: false })
    })
  }
})

describe('patterns of the user', () => {
  const table: [string[], string, EntryType, boolean][] = [
    [['*.bin'], 'a/b.bin', 'f', true],
    [['*.bin'], 'a/b.bin.x', 'f', false],
    [['/a/*.bin'], 'a/b.bin', 'f', true],
    [['/a/*.bin'], 'x/a/b.bin', 'f', false],
    [['a/*.bin'], 'a/c/b.bin', 'f', false],
    [['a/**/b'], 'a/b', 'f', true],
    [['a/**/b'], 'a/x/y/b', 'f', true],
    [['**/logs'], 'x/logs/1', 'f', true],
    [['logs/**'], 'logs/1', 'f', true],
    [['logs/**'], 'logs', 'd', false],
    [['scratch/'], 'a/scratch/file', 'f', true],
    [['scratch/'], 'a/scratch', 'f', false],
    [['scratch/'], 'a/scratch', 'd', true],
    [['*.bin', '!keep.bin'], 'keep.bin', 'f', false],
    [['*.bin', '!keep.bin'], 'other.bin', 'f', true],
    [['# comment', ''], '# comment', 'f', false],
    [['\\#name'], '#name', 'f', true],
    [['trailing  '], 'trailing', 'f', true],
    [['file?'], 'file1', 'f', true],
    [['file?'], 'file12', 'f', false],
    [['[a-c]x'], 'bx', 'f', true],
    [['[!a-c]x'], 'bx', 'f', false],
    [['[]-]x'], '-x', 'f', true],
    [['a+(b).c-d'], 'a+(b).c-d', 'f', true],
    [['[z-a]x'], 'bx', 'f', false],
    [['grö?e'], 'größe', 'f', true],
    [['!token'], 'token', 'f', true],
  ]
  for (const [patterns, path, type, expected] of table) {
    it(`${JSON.stringify(patterns)}: ${path} (${type}) ${expected ? 'stays' : 'is published'}`, () => {
      assert.equal(createNameClassifier(patterns)(path, type).localOnly, expected)
    })
  }

  it('stand any text', () => {
    for (const pattern of [
      '[',
      '[]',
      '\\',
      '***',
      '/',
      '//',
      '!',
      '(',
      '{',
      '[^',
      'a\\/b',
      '💾*',
    ]) {
      assert.equal(createNameClassifier([pattern])('some/path', 'f').localOnly, pattern === '***')
    }
  })
})

describe('expectedDigest', () => {
  const hex40 = 'cd'.repeat(20)
  const table: [string, ReturnType<typeof expectedDigest>][] = [
    [`hub/models--a--b/blobs/${hex64}`, { algorithm: 'sha256', hex: hex64 }],
    [`datasets--a--b/blobs/${hex40}`, { algorithm: 'git-sha1', hex: hex40 }],
    [`spaces--b/blobs/${hex40}`, { algorithm: 'git-sha1', hex: hex40 }],
    [`hub/models--a--b/blobs/${hex64.toUpperCase()}`, undefined],
    [`hub/models--a--b/blobs/${hex64}.incomplete`, undefined],
    [`hub/other/blobs/${hex64}`, undefined],
    [`models--a--b/snapshots/${hex40}`, undefined],
    [`models--a--b/blobs/${hex40}00`, undefined],
  ]
  for (const [path, expected] of table) {
    it(`of ${path.slice(0, 60)} is ${expected?.algorithm}`, () => {
      assert.deepEqual(expectedDigest(path), expected)
    })
  }
})

describe('looksLikeCredential', () => {
  const token = 'hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567'
  const table: [string, string, string | undefined][] = [
    ['a token alone', `${token}\n`, 'Hugging Face token'],
    ['a token in an ini file', `[x]\nhf_token = ${token}\n`, 'Hugging Face token'],
    ['a private key', '-----BEGIN OPENSSH PRIVATE KEY-----\nabc', 'private key'],
    ['a netrc', 'machine huggingface.co login me password x\n', 'netrc login'],
    ['a placeholder of documentation', 'hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', undefined],
    ['a short token', 'hf_abc123', undefined],
    ['a certificate', '-----BEGIN CERTIFICATE-----', undefined],
    ['words with hyphens', 'task-text-generation-inference-for-large-language-models', undefined],
    ['a file with NUL', `\0${token}`, undefined],
    ['a large file', `${token}${' '.repeat(70_000)}`, undefined],
  ]
  for (const [what, text, expected] of table) {
    it(`says ${expected} for ${what}`, () => {
      assert.equal(looksLikeCredential(Buffer.from(text)), expected)
    })
  }
})
