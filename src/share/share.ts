import { randomInt } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import {
  type Clock,
  isErrno,
  KeyedLock,
  type Logger,
  ModelcacheError,
  systemClock,
} from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import { multiaddrOf } from '../ipfs/index.ts'
import { Responder, type RootAnswer } from './responder.ts'
import { ServedSet, type ServedSetComponents } from './served-set.ts'
import { isPort, readShareFile, type ShareRecord, writeShareFile } from './share-file.ts'
import { newToken, TOKEN_PATTERN } from './token.ts'

/** Where a share can be reached. All of it holds the token. */
export interface ShareAddress {
  /** What `--peer` takes: `http://127.0.0.1:PORT/t/TOKEN`. */
  address: string
  /** The same in every form that `--peer` takes: URL and multiaddr. */
  addresses: string[]
  /** The IPNS name of the mount's key. */
  name: string
}

/** This mount's blocks on loopback, for whoever has the address. */
export interface Share {
  /**
   * Starts to listen, or says where it listens already. Without options it takes what
   * `share.json` keeps, else a new token and a free port.
   *
   * @throws `port-in-use` for a port that was asked for; `bad-share-file`
   */
  open(options?: { token?: string; port?: number }): Promise<ShareAddress>
  /** Listens again if a share was open when the daemon ended; undefined if none was. */
  resume(): Promise<ShareAddress | undefined>
  /** Addresses that are listened on, without the token. */
  listening(): string[]
  /** Ends all connections. `share.json` stays, for `resume`. Idempotent. */
  close(): Promise<void>
}

export interface ShareComponents {
  /** Verified blocks of our own store, never of the network. */
  getBlock: GetBlock
  getNode: ServedSetComponents['getNode']
  filesWithLeaf: ServedSetComponents['filesWithLeaf']
  isSecret: ServedSetComponents['isSecret']
  /** The commits that are served, the current one first. */
  roots: ServedSetComponents['roots']
  currentRoot(): RootAnswer | undefined
  /** `share.json` of the store. */
  file: string
  /** The IPNS name of the mount's key, from `ipnsNameOf`. */
  name: string
  logger: Logger
  clock?: Clock
}

const HOST = '127.0.0.1'
/** Below the kernel's range of ports for outgoing connections, so that it is free again later. */
const PORTS = { from: 20_000, to: 32_000 }
const PORT_TRIES = 64
/** Two dozen connections a follower, a handful of followers on one machine. */
const MAX_CONNECTIONS = 256
const MAX_HEADER_BYTES = 8 * 1024
const HEADERS_TIMEOUT_MS = 10_000
/** A kept connection that is not used; also a reader that takes nothing for this long. */
const IDLE_MS = 60_000

export function createShare(components: ShareComponents): Share {
  return new LoopbackShare(components)
}

class LoopbackShare implements Share {
  readonly #components: ShareComponents
  readonly #served: ServedSet
  readonly #lock = new KeyedLock()
  #open: { server: Server; port: number; address: ShareAddress } | undefined
  /** Answers under way: `close` waits for them. */
  readonly #answers = new Set<Promise<void>>()

  constructor(components: ShareComponents) {
    const { getNode, filesWithLeaf, isSecret, roots, logger } = components
    const clock = components.clock ?? systemClock
    this.#components = components
    this.#served = new ServedSet({ getNode, filesWithLeaf, isSecret, roots, logger, clock })
  }

  open(options: { token?: string; port?: number } = {}): Promise<ShareAddress> {
    return this.#lock.run('share', async () => {
      if (this.#open !== undefined) {
        return this.#open.address
      }
      assertOptions(options)
      const kept = await readShareFile(this.#components.file)
      const token = options.token ?? kept?.token ?? newToken()
      const server = this.#createServer(token)
      const port = await this.#listen(server, options.port, kept?.port)
      const address = addressOf(port, token, this.#components.name)
      this.#open = { server, port, address }
      this.#served.begin()
      server.on('error', (error) => {
        this.#components.logger.error('the share failed', { reason: error.message })
      })
      if (kept?.token !== token || kept.port !== port) {
        await this.#keep({ token, port })
      }
      return address
    })
  }

  async resume(): Promise<ShareAddress | undefined> {
    const kept = await readShareFile(this.#components.file)
    return kept === undefined ? undefined : await this.open()
  }

  listening(): string[] {
    return this.#open === undefined ? [] : [`http://${HOST}:${this.#open.port}`]
  }

  close(): Promise<void> {
    return this.#lock.run('share', async () => {
      const open = this.#open
      this.#open = undefined
      if (open !== undefined) {
        await closeServer(open.server)
      }
      await Promise.allSettled(this.#answers)
      await this.#served.close()
    })
  }

  /** An address that cannot be kept would be another one after the next start: not opened then. */
  async #keep(record: ShareRecord): Promise<void> {
    try {
      await writeShareFile(this.#components.file, record)
    } catch (error) {
      const open = this.#open
      this.#open = undefined
      if (open !== undefined) {
        await closeServer(open.server)
      }
      throw error
    }
  }

  #createServer(token: string): Server {
    const { getBlock, currentRoot, logger } = this.#components
    const served = this.#served
    const responder = new Responder({ getBlock, served, currentRoot, logger }, token)
    const server = createServer(
      {
        keepAliveTimeout: IDLE_MS,
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: HEADERS_TIMEOUT_MS,
        maxHeaderSize: MAX_HEADER_BYTES,
        requireHostHeader: true,
      },
      (request, response) => {
        // A body means nothing in GET and HEAD; it is thrown away as it comes.
        request.resume()
        const answer = responder.answer(request, response)
        this.#answers.add(answer)
        answer.finally(() => this.#answers.delete(answer))
      },
    )
    server.maxConnections = MAX_CONNECTIONS
    server.setTimeout(IDLE_MS)
    return server
  }

  async #listen(server: Server, asked?: number, kept?: number): Promise<number> {
    if (asked !== undefined) {
      if (await tryListen(server, asked)) {
        return asked
      }
      throw new ModelcacheError(`share on port ${asked}: it is in use; name another`, {
        code: 'port-in-use',
        errno: 'EADDRINUSE',
        exitCode: 1,
      })
    }
    if (kept !== undefined) {
      if (await tryListen(server, kept)) {
        return kept
      }
      this.#components.logger.warn('the port of the share is in use: its address changes', {
        port: kept,
      })
    }
    for (let tries = 0; tries < PORT_TRIES; tries += 1) {
      const port = randomInt(PORTS.from, PORTS.to)
      if (await tryListen(server, port)) {
        return port
      }
    }
    throw new ModelcacheError(`share: no free port from ${PORTS.from} to ${PORTS.to}`, {
      code: 'port-in-use',
      errno: 'EADDRINUSE',
      exitCode: 1,
    })
  }
}

function assertOptions({ token, port }: { token?: string; port?: number }): void {
  if (token !== undefined && !TOKEN_PATTERN.test(token)) {
    throw new ModelcacheError('share: a token is 32 bytes in base64url (43 characters)', {
      code: 'bad-token',
      exitCode: 2,
    })
  }
  if (port !== undefined && !isPort(port)) {
    throw new ModelcacheError(`share on port ${port}: a port is a number from 1 to 65535`, {
      code: 'bad-port',
      exitCode: 2,
    })
  }
}

function addressOf(port: number, token: string, name: string): ShareAddress {
  const address = `http://${HOST}:${port}/t/${token}`
  return { address, addresses: [address, multiaddrOf(address)], name }
}

/** False where the port is taken; other failures are thrown. */
function tryListen(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      server.off('listening', listening)
      if (isErrno(error, 'EADDRINUSE')) {
        resolve(false)
      } else {
        reject(error)
      }
    }
    const listening = () => {
      server.off('error', failed)
      resolve(true)
    }
    server.once('error', failed)
    server.once('listening', listening)
    server.listen(port, HOST)
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // The only error is that it does not listen any more.
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
