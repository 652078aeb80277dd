import { isIP } from 'node:net'
import { ModelcacheError, redact } from '../base/index.ts'

/** Where a peer answers. Holds the token of its share: never logged but through `shown`. */
export interface PeerAddress {
  /** Base address without a trailing slash, such as `http://127.0.0.1:4711/t/TOKEN`. */
  readonly url: string
  /** The same without the token, for logs and messages. */
  readonly shown: string
}

const HOST_PROTOCOLS = new Set(['ip4', 'ip6', 'dns', 'dns4', 'dns6'])

/** What a caller has to write instead, for every refusal. */
const FORM = 'use the address that `modelcache share` prints, such as http://HOST:PORT/t/TOKEN'

/**
 * Reads what `--peer` takes: a URL or a multiaddr that ends in HTTP.
 *
 * @throws code `bad-peer`, exit code 2, naming the value (without its token) and the right form
 */
export function parsePeerAddress(text: string): PeerAddress {
  const url = text.startsWith('/') ? urlOfMultiaddr(text) : text
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || !['http:', 'https:'].includes(parsed.protocol)) {
    throw refusal(text, 'is no http address')
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw refusal(text, 'carries a user name or password')
  }
  if (parsed.search !== '' || parsed.hash !== '') {
    throw refusal(text, 'carries a query or fragment')
  }
  const base = `${parsed.origin}${parsed.pathname}`.replace(/\/+$/, '')
  return { url: base, shown: redact(base) }
}

/**
 * The multiaddr of an HTTP address: `/ip4/127.0.0.1/tcp/4711/http/http-path/t%2FTOKEN`
 * (https://github.com/multiformats/multiaddr/blob/master/protocols/http-path.md).
 */
export function multiaddrOf(url: string): string {
  const { protocol, hostname, port, pathname } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(host) === 4 ? 'ip4' : isIP(host) === 6 ? 'ip6' : 'dns'
  const secure = protocol === 'https:'
  const path = pathname.replace(/^\/+|\/+$/g, '')
  return [
    '',
    family,
    host,
    'tcp',
    port || (secure ? '443' : '80'),
    ...(secure ? ['tls', 'http'] : ['http']),
    ...(path === '' ? [] : ['http-path', encodeURIComponent(path)]),
  ].join('/')
}

function urlOfMultiaddr(text: string): string {
  const parts = text.split('/').slice(1)
  const [family, host, transport, port, ...rest] = parts
  if (family === undefined || !HOST_PROTOCOLS.has(family) || host === undefined) {
    throw refusal(text, 'has no host that is known')
  }
  if (transport !== 'tcp' || port === undefined || !/^\d{1,5}$/.test(port)) {
    throw refusal(text, 'has no tcp port')
  }
  const scheme = schemeOf(rest)
  if (scheme === undefined) {
    throw refusal(text, 'does not lead to http')
  }
  const path = rest[scheme.used] === 'http-path' ? rest[scheme.used + 1] : undefined
  const used = scheme.used + (path === undefined ? 0 : 2)
  if (rest.slice(used).some((part) => part !== '')) {
    throw refusal(text, 'goes on after its http part')
  }
  const authority = family === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`
  return `${scheme.name}://${authority}/${path === undefined ? '' : decodedPath(text, path)}`
}

function schemeOf(rest: string[]): { name: string; used: number } | undefined {
  if (rest[0] === 'http') {
    return { name: 'http', used: 1 }
  }
  if (rest[0] === 'https') {
    return { name: 'https', used: 1 }
  }
  return rest[0] === 'tls' && rest[1] === 'http' ? { name: 'https', used: 2 } : undefined
}

function decodedPath(text: string, path: string): string {
  try {
    return decodeURIComponent(path).replace(/^\/+/, '')
  } catch (cause) {
    throw refusal(text, 'has a path that is not percent-encoded', cause)
  }
}

function refusal(text: string, reason: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`peer ${redact(text)}: ${reason}; ${FORM}`, {
    code: 'bad-peer',
    exitCode: 2,
    cause,
  })
}
