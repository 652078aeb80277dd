import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { multiaddrOf, parsePeerAddress } from '../../src/ipfs/index.ts'

describe('the address of a peer', () => {
  const good: [string, string][] = [
    ['http://127.0.0.1:4711/t/TOKEN', 'http://127.0.0.1:4711/t/TOKEN'],
    ['http://127.0.0.1:4711/t/TOKEN/', 'http://127.0.0.1:4711/t/TOKEN'],
    ['https://example.org', 'https://example.org'],
    ['/ip4/127.0.0.1/tcp/4711/http', 'http://127.0.0.1:4711'],
    ['/ip4/127.0.0.1/tcp/4711/http/http-path/t%2FTOKEN', 'http://127.0.0.1:4711/t/TOKEN'],
    ['/ip6/::1/tcp/4711/http/http-path/t%2FTOKEN', 'http://[::1]:4711/t/TOKEN'],
    ['/dns4/example.org/tcp/443/tls/http', 'https://example.org'],
    ['/dns/example.org/tcp/8443/https/http-path/%2Ft%2Fx', 'https://example.org:8443/t/x'],
  ]
  for (const [text, url] of good) {
    test(`${text} leads to ${url}`, () => assert.equal(parsePeerAddress(text).url, url))
  }

  test('is written as a multiaddr and read back', () => {
    for (const url of ['http://127.0.0.1:4711/t/TOKEN', 'http://[::1]:80/t/a', 'https://a.b/x']) {
      assert.equal(parsePeerAddress(multiaddrOf(url)).url, parsePeerAddress(url).url)
    }
    assert.equal(
      multiaddrOf('http://127.0.0.1:4711/t/TOKEN'),
      '/ip4/127.0.0.1/tcp/4711/http/http-path/t%2FTOKEN',
    )
  })

  const bad = [
    'nonsense',
    'ftp://127.0.0.1/x',
    'http://user:word@127.0.0.1/',
    'http://127.0.0.1/?a=b',
    '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW',
    '/ip4/127.0.0.1/udp/4001/quic-v1',
    '/onion3/abc:80/http',
    '/ip4/127.0.0.1/tcp/1/http/http-path/%zz',
    '/ip4/127.0.0.1/tcp/1/http/p2p/12D3KooW',
    '/ip4/not a host/tcp/1/http',
  ]
  for (const text of bad) {
    test(`refuses ${text} as wrong usage, with the right form`, () => {
      assert.throws(() => parsePeerAddress(text), {
        code: 'bad-peer',
        exitCode: 2,
        message: /share/,
      })
    })
  }

  test('does not show its token', () => {
    const secret = 'a'.repeat(43)
    assert.doesNotMatch(parsePeerAddress(`http://127.0.0.1:1/t/${secret}`).shown, /aaa/)
    assert.throws(
      () => parsePeerAddress(`ftp://127.0.0.1:1/t/${secret}`),
      (error: Error) => !error.message.includes('aaa'),
    )
  })
})
