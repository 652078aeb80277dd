import type { FileHandle } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { type Logger, messageOf } from '../base/index.ts'
import { listenIn } from './store-socket.ts'

/** The same name as the keeper's: who asks need not know what serves the mount. */
const FACTS_SOCKET = 'keeper.sock'
/** Who connects and does not read must not stay. */
const WRITE_TIMEOUT_MS = 1000
const MAX_CONNECTIONS = 64

/** `run/keeper.sock` of a mount without a keeper: one line of JSON to whoever connects. */
export class FactsSocket {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #folder: FileHandle | undefined

  /** @param facts - of this moment */
  constructor(facts: () => Promise<Record<string, unknown>>, logger: Logger) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.setTimeout(WRITE_TIMEOUT_MS, () => socket.destroy())
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', (error) => {
        logger.debug('who asked went away', { reason: messageOf(error) })
      })
      facts().then(
        (value) => socket.end(`${JSON.stringify(value)}\n`),
        (error: unknown) => {
          logger.warn('the facts cannot be told', { reason: messageOf(error), error })
          socket.destroy()
        },
      )
    })
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  async listen(runDir: string): Promise<void> {
    this.#folder = await listenIn(runDir, FACTS_SOCKET, this.#server)
  }

  /** Removes the socket. Idempotent. */
  async close(): Promise<void> {
    const folder = this.#folder
    this.#folder = undefined
    if (folder === undefined) {
      return
    }
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    for (const socket of this.#sockets) {
      socket.destroy()
    }
    await closed
    await folder.close()
  }
}
