import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

/** What the relay does with what comes from the share. */
export type Behaviour =
  | 'pass'
  /** Every connection is broken, also a new one. */
  | 'cut'
  /** Connections stay and nothing moves on them. */
  | 'stall'
  /** One bit of every large piece of an answer is another. */
  | 'lie'

/** A TCP relay between a mount and the share that it fetches from. */
export interface TcpRelay {
  /** The share's address, with the relay's port. */
  readonly address: string
  readonly behaviour: Behaviour
  /** Bytes that went to the mount. */
  readonly passedBytes: number
  /** Connections that the mount tried to make while they were cut or stalled. */
  readonly disturbed: number
  /** Connections that the share did not take. */
  readonly refused: number
  /** Pieces that were passed on with a wrong bit. */
  readonly lies: number
  behave(behaviour: Behaviour): void
  /** As `behave(behaviour)`, when so many more bytes have passed. */
  behaveAfter(bytes: number, behaviour: Behaviour): void
}

/** Heads of answers are smaller: a lie is about content. */
const CONTENT_BYTES = 4096

/** Relays to the share at `address` until the test ends. */
export async function tcpRelay(t: TestContext, address: string): Promise<TcpRelay> {
  const relay = new Relay(new URL(address))
  await relay.listen()
  t.after(() => relay.close())
  return relay
}

class Relay implements TcpRelay {
  passedBytes = 0
  disturbed = 0
  refused = 0
  lies = 0
  readonly #target: URL
  readonly #server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  /** Both ends of every connection. */
  readonly #sockets = new Set<Socket>()
  #behaviour: Behaviour = 'pass'
  #next: { atBytes: number; behaviour: Behaviour } | undefined

  constructor(target: URL) {
    this.#target = target
  }

  get address(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://127.0.0.1:${port}${this.#target.pathname}`
  }

  get behaviour(): Behaviour {
    return this.#behaviour
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const socket of this.#sockets) socket.destroy()
    })
  }

  behave(behaviour: Behaviour): void {
    this.#behaviour = behaviour
    this.#next = undefined
    for (const socket of this.#sockets) {
      if (behaviour === 'cut') socket.destroy()
      else if (behaviour === 'stall') socket.pause()
      else socket.resume()
    }
  }

  behaveAfter(bytes: number, behaviour: Behaviour): void {
    this.#next = { atBytes: this.passedBytes + bytes, behaviour }
  }

  #accept(client: Socket): void {
    if (this.#behaviour === 'cut') {
      this.disturbed += 1
      client.destroy()
      return
    }
    const { hostname, port } = this.#target
    const share = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
    share.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') this.refused += 1
    })
    this.#pump(client, share, (bytes) => bytes)
    this.#pump(share, client, (bytes) => this.#answer(bytes))
    if (this.#behaviour === 'stall') {
      this.disturbed += 1
      client.pause()
      share.pause()
    }
  }

  #pump(from: Socket, to: Socket, change: (bytes: Buffer) => Buffer): void {
    this.#sockets.add(from)
    from.on('data', (bytes: Buffer) => {
      if (to.destroyed || to.write(change(bytes))) return
      from.pause()
      to.once('drain', () => {
        if (this.#behaviour !== 'stall') from.resume()
      })
    })
    from.on('end', () => to.end())
    // Whoever breaks, breaks both: that is all that an error on one side means to a relay.
    from.on('error', () => to.destroy())
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }

  /** What the share sent, as the mount gets it. */
  #answer(bytes: Buffer): Buffer {
    this.passedBytes += bytes.length
    const next = this.#next
    if (next !== undefined && this.passedBytes >= next.atBytes) {
      // Later: this piece still goes on its way, or is destroyed with its connection.
      setImmediate(() => this.behave(next.behaviour))
      this.#next = undefined
    }
    if (this.#behaviour !== 'lie' || bytes.length < CONTENT_BYTES) return bytes
    this.lies += 1
    const middle = bytes.length >> 1
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle)
    return bytes
  }
}
