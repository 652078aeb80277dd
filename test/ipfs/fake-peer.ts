import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import type { FileLeaf } from '../../src/ipfs/index.ts'

/** How a peer behaves; it can change between requests. */
export type Behaviour =
  | 'good'
  /** Answers 404 to all. */
  | 'lacks'
  /** Never answers. */
  | 'silent'
  /** Sends a byte every few milliseconds. */
  | 'trickles'
  /** Sends bytes that are not the right ones. */
  | 'lies'
  /** Sends half of the answer and breaks the connection. */
  | 'breaks'
  /** Sends half of the answer and nothing more. */
  | 'stalls'
  /** Sends us elsewhere. */
  | 'redirects'
  /** Sends a body without end. */
  | 'endless'

export interface FakePeer {
  address: string
  port: number
  behaviour: Behaviour
  /** `path range` of every request. */
  requests: string[]
  connections: number
  /** As a server does whose patience with an idle connection ends. */
  breakKeptConnections(): void
  blocks: Map<string, Uint8Array>
  files: Map<string, Uint8Array>
  close(): Promise<void>
}

/** A peer on loopback whose answers can be made as bad as wanted. */
export async function fakePeer(t: TestContext, behaviour: Behaviour = 'good'): Promise<FakePeer> {
  const timers = new Set<NodeJS.Timeout>()
  const server = createServer((request, response) => answer(peer, timers, request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = () =>
    new Promise<void>((resolve) => {
      for (const timer of timers) {
        clearInterval(timer)
      }
      server.close(() => resolve())
      server.closeAllConnections()
    })
  const peer: FakePeer = {
    address: `http://127.0.0.1:${port}/t/token`,
    port,
    behaviour,
    requests: [],
    connections: 0,
    breakKeptConnections: () => server.closeIdleConnections(),
    blocks: new Map(),
    files: new Map(),
    close,
  }
  server.on('connection', () => {
    peer.connections += 1
  })
  t.after(close)
  return peer
}

/** A block of this codec. */
export function blockOf(codec: number, bytes: Uint8Array): CID {
  return CID.createV1(codec, Digest.create(0x12, createHash('sha256').update(bytes).digest()))
}

/** A file in leaves of `leafBytes`, stored at the peer under a CID that stands for it. */
export function addFile(peer: FakePeer, bytes: Uint8Array, leafBytes: number) {
  const leaves: FileLeaf[] = []
  for (let offset = 0; offset < bytes.length; offset += leafBytes) {
    const leaf = bytes.subarray(offset, offset + leafBytes)
    leaves.push({ cid: blockOf(0x55, leaf), offset, length: leaf.length })
  }
  const file = blockOf(0x70, bytes)
  peer.files.set(file.toString(), bytes)
  return { file, leaves }
}

function answer(
  peer: FakePeer,
  timers: Set<NodeJS.Timeout>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const url = new URL(request.url ?? '', 'http://localhost')
  const range = request.headers.range ?? ''
  peer.requests.push(`${url.pathname} ${range}`.trim())
  const name = url.pathname.split('/').at(-1) ?? ''
  const raw = url.searchParams.get('format') === 'raw'
  const whole = raw ? peer.blocks.get(name) : peer.files.get(name)
  if (peer.behaviour === 'silent') {
    return
  }
  if (peer.behaviour === 'redirects') {
    response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()
    return
  }
  if (whole === undefined || peer.behaviour === 'lacks') {
    response.writeHead(404).end()
    return
  }
  const [start = 0, last = whole.length - 1] = (/(\d+)-(\d+)/.exec(range) ?? [])
    .slice(1)
    .map(Number)
  const body = Buffer.from(whole.subarray(start, last + 1))
  response.writeHead(range === '' ? 200 : 206, {
    ...(peer.behaviour === 'endless' ? {} : { 'content-length': body.length }),
    ...(range === '' ? {} : { 'content-range': `bytes ${start}-${last}/${whole.length}` }),
  })
  send(peer.behaviour, body, response, timers)
}

function send(
  behaviour: Behaviour,
  body: Buffer,
  response: ServerResponse,
  timers: Set<NodeJS.Timeout>,
): void {
  const half = body.subarray(0, Math.floor(body.length / 2))
  if (behaviour === 'lies') {
    body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1)
    response.end(body)
  } else if (behaviour === 'breaks') {
    response.write(half, () => response.destroy())
  } else if (behaviour === 'stalls') {
    response.write(half)
  } else if (behaviour === 'trickles' || behaviour === 'endless') {
    let sent = 0
    const chunk = behaviour === 'endless' ? 64 * 1024 : 1
    const timer = setInterval(() => {
      response.write(behaviour === 'endless' ? Buffer.alloc(chunk) : body.subarray(sent, sent + 1))
      sent += chunk
    }, 5)
    timers.add(timer)
    response.once('close', () => clearInterval(timer))
  } else {
    response.end(body)
  }
}
