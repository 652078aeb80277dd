import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createLogger, type LogLevel, redact } from '../../src/base/index.ts'

describe('redact', () => {
  const table: [string, string][] = [
    ['http://127.0.0.1:80/t/aB3_-x/ipfs/bafy', 'http://127.0.0.1:80/t/[redacted]/ipfs/bafy'],
    [
      '/ip4/127.0.0.1/tcp/1/http/http-path/%2Ft%2FaB3',
      '/ip4/127.0.0.1/tcp/1/http/http-path/%2Ft%2F[redacted]',
    ],
    ['https://user:pass@host/x', 'https://[redacted]@host/x'],
    ['Authorization: Bearer abc.def', 'Authorization: Bearer [redacted]'],
    ['token hf_abcdefghijklmnop in text', 'token hf_[redacted] in text'],
    ['/t/one and /t/two', '/t/[redacted] and /t/[redacted]'],
    ['models--a--b/blobs/t', 'models--a--b/blobs/t'],
  ]
  for (const [text, clean] of table) {
    it(`makes ${JSON.stringify(clean)}`, () => assert.equal(redact(text), clean))
  }
})

describe('createLogger', () => {
  const lines = (level: LogLevel) => {
    const written: string[] = []
    const clock = { now: () => new Date(0) }
    return { written, logger: createLogger({ level, write: (line) => written.push(line), clock }) }
  }

  it('writes one line of JSON with the fields', () => {
    const { written, logger } = lines('info')
    logger.info('fetch', { path: 'a\nb', size: 1n, error: new Error('http://h/t/secret/x') })
    assert.equal(written.length, 1)
    assert.ok(written[0]?.endsWith('\n') && !written[0].slice(0, -1).includes('\n'))
    const line = JSON.parse(written[0] ?? '')
    assert.equal(line.at, '1970-01-01T00:00:00.000Z')
    assert.deepEqual(
      [line.level, line.message, line.path, line.size],
      ['info', 'fetch', 'a\nb', '1'],
    )
    assert.equal(line.error.message, 'http://h/t/[redacted]/x')
  })

  it('leaves out what is more talkative than its level', () => {
    const { written, logger } = lines('warn')
    logger.error('1')
    logger.warn('2')
    logger.info('3')
    logger.debug('4')
    assert.equal(written.length, 2)
  })

  it('keeps a line short, whatever the fields', () => {
    const { written, logger } = lines('info')
    logger.info('big', { field: 'x'.repeat(1e6) })
    assert.ok((written[0]?.length ?? 0) < 20_000)
    assert.equal(JSON.parse(written[0] ?? '').message, 'big')
  })
})
