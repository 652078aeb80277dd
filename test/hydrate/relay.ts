import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

/** What the relay does with the file requests of a follower; blocks always pass. */
export type Disturbance =
  | 'pass'
  /** Breaks every connection, those for blocks too. */
  | 'refuse'
  /** Never answers. */
  | 'swallow'
  /** Breaks the connection after half of the answer. */
  | 'cut'
  /** Turns the bits of the answer. */
  | 'lie'
  /** Passes on a little at a time. */
  | 'slow'

/** Stands between a follower and a share, counts, and disturbs. */
export interface Relay {
  address: string
  behaviour: Disturbance
  /** Ranges of files that were asked for. */
  ranges: { start: number; end: number }[]
  /** Bytes of bodies passed on to the follower. */
  bodyBytes: number
  /** The most file requests at a time. */
  most: number
  reset(): void
}

const SLOW_CHUNK = 64 * 1024
const SLOW_MS = 5

export async function relayTo(t: TestContext, address: string): Promise<Relay> {
  const target = new URL(address)
  let active = 0
  const server = createServer((asked, answer) => {
    const range = /bytes=(\d+)-(\d+)/.exec(asked.headers.range ?? '')
    if (relay.behaviour === 'refuse') {
      asked.destroy()
      return
    }
    if (range !== null) {
      relay.ranges.push({ start: Number(range[1]), end: Number(range[2]) + 1 })
      active += 1
      relay.most = Math.max(relay.most, active)
      answer.once('close', () => {
        active -= 1
      })
      if (relay.behaviour === 'swallow') {
        return
      }
    }
    pass(relay, target, asked, answer, range !== null)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  const relay: Relay = {
    address: `http://127.0.0.1:${port}${target.pathname}`,
    behaviour: 'pass',
    ranges: [],
    bodyBytes: 0,
    most: 0,
    reset() {
      relay.ranges = []
      relay.bodyBytes = 0
      relay.most = 0
    },
  }
  return relay
}

function pass(
  relay: Relay,
  target: URL,
  asked: IncomingMessage,
  answer: ServerResponse,
  isFile: boolean,
): void {
  const { method, headers, url: path } = asked
  const options = { host: target.hostname, port: target.port, method, path, headers }
  const forwarded = request(options, (response) => {
    answer.writeHead(response.statusCode ?? 500, response.headers)
    const length = Number(response.headers['content-length'] ?? 0)
    let sent = 0
    const closed = new Promise<void>((resolve) => answer.once('close', () => resolve()))
    const write = async () => {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        for (const part of partsOf(relay, chunk, isFile)) {
          if (answer.destroyed) {
            return
          }
          relay.bodyBytes += part.length
          sent += part.length
          if (!answer.write(part)) {
            await Promise.race([new Promise<void>((go) => answer.once('drain', go)), closed])
          }
          if (isFile && relay.behaviour === 'cut' && sent > length / 2) {
            answer.destroy()
            return
          }
          if (isFile && relay.behaviour === 'slow') {
            await new Promise((resolve) => setTimeout(resolve, SLOW_MS))
          }
        }
      }
      answer.end()
    }
    write().catch(() => answer.destroy())
    answer.once('close', () => response.destroy())
  })
  forwarded.on('error', () => answer.destroy())
  forwarded.end()
}

function partsOf(relay: Relay, chunk: Buffer, isFile: boolean): Buffer[] {
  if (isFile && relay.behaviour === 'lie') {
    return [Buffer.from(chunk.map((byte) => byte ^ 1))]
  }
  if (!isFile || relay.behaviour !== 'slow') {
    return [chunk]
  }
  const parts: Buffer[] = []
  for (let start = 0; start < chunk.length; start += SLOW_CHUNK) {
    parts.push(chunk.subarray(start, start + SLOW_CHUNK))
  }
  return parts
}
