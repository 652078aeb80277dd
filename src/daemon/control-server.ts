import { once } from 'node:events'
import type { FileHandle } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { type Logger, ModelcacheError, messageOf } from '../base/index.ts'
import {
  CONTROL_SOCKET,
  type ControlArgs,
  controlErrorOf,
  LineDecoder,
  parseLine,
} from './control-wire.ts'
import { listenIn } from './store-socket.ts'

/** What an operation gets beside its arguments. */
export interface ControlCall {
  args: ControlArgs
  /** Aborts when the caller goes away. */
  signal: AbortSignal
  progress(value: unknown): void
  /**
   * Sends bytes; resolves when there is room for more.
   *
   * @throws `caller-gone`
   */
  write(bytes: Uint8Array): Promise<void>
}

/** The operations by name. */
export type ControlOperations = Readonly<Record<string, (call: ControlCall) => Promise<unknown>>>

/** Commands of a user, a shell loop over them: more at a time is a mistake. */
const MAX_CONNECTIONS = 64

/** The daemon's end of `run/control.sock`: one request a connection. */
export class ControlServer {
  readonly #operations: ControlOperations
  readonly #logger: Logger
  readonly #server: Server
  readonly #sockets = new Map<Socket, AbortController>()
  readonly #answers = new Set<Promise<void>>()
  #folder: FileHandle | undefined

  constructor(operations: ControlOperations, logger: Logger) {
    this.#operations = operations
    this.#logger = logger
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  /**
   * Listens; what an earlier daemon left is replaced.
   *
   * @param runDir `StorePaths.run`; its path may be longer than a socket's address
   */
  async listen(runDir: string): Promise<void> {
    this.#folder = await listenIn(runDir, CONTROL_SOCKET, this.#server)
    this.#server.on('error', (error) => {
      this.#logger.error('the control socket failed', { reason: messageOf(error) })
    })
  }

  /** Takes no more calls, waits for those under way, and removes the socket. Idempotent. */
  async close(): Promise<void> {
    const folder = this.#folder
    this.#folder = undefined
    if (folder === undefined) {
      return
    }
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    await Promise.all(this.#answers)
    for (const socket of this.#sockets.keys()) {
      socket.destroy()
    }
    await closed
    await folder.close()
  }

  #accept(socket: Socket): void {
    const gone = new AbortController()
    const lines = new LineDecoder()
    this.#sockets.set(socket, gone)
    socket.on('error', (error) => {
      this.#logger.debug('a caller went away', { reason: messageOf(error) })
    })
    socket.on('close', () => {
      this.#sockets.delete(socket)
      gone.abort(new ModelcacheError('the caller went away', { code: 'caller-gone' }))
    })
    socket.on('data', (chunk) => {
      try {
        lines.push(chunk, (line) => this.#take(socket, gone.signal, line))
      } catch (error) {
        this.#logger.warn('a call cannot be read', { reason: messageOf(error) })
        socket.destroy()
      }
    })
  }

  #take(socket: Socket, signal: AbortSignal, line: string): void {
    const answer = this.#answer(socket, signal, line)
      .catch((error: unknown) => ({ error: controlErrorOf(error) }))
      .then((value) => send(socket, value))
      .finally(() => this.#answers.delete(answer))
    this.#answers.add(answer)
  }

  async #answer(socket: Socket, signal: AbortSignal, line: string): Promise<object> {
    const request = parseLine(line)
    const op = typeof request?.op === 'string' ? request.op : ''
    const operation = Object.hasOwn(this.#operations, op) ? this.#operations[op] : undefined
    if (operation === undefined) {
      throw new ModelcacheError(`this daemon has no operation ${JSON.stringify(op)}`, {
        code: 'unknown-operation',
        exitCode: 2,
      })
    }
    const args = typeof request?.args === 'object' ? (request.args as ControlArgs) : {}
    const progress = (value: unknown) => socket.write(`${JSON.stringify({ progress: value })}\n`)
    const write = (bytes: Uint8Array) => sendBytes(socket, signal, bytes)
    return { ok: (await operation({ args, signal, progress, write })) ?? null }
  }
}

/** A line that says how many, and so many bytes. */
async function sendBytes(socket: Socket, signal: AbortSignal, bytes: Uint8Array): Promise<void> {
  signal.throwIfAborted()
  socket.write(`${JSON.stringify({ bytes: bytes.length })}\n`)
  if (!socket.write(bytes)) {
    await once(socket, 'drain', { signal })
  }
}

/** Resolves when the answer was handed to the system, or the caller is gone. */
function send(socket: Socket, value: object): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) {
      resolve()
      return
    }
    socket.once('close', () => resolve())
    socket.end(`${JSON.stringify(value)}\n`, () => resolve())
  })
}
