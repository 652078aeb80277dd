import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { type ExitCode, isErrno, ModelcacheError } from '../base/index.ts'
import { CONTROL_SOCKET, type ControlArgs, LineDecoder, parseLine } from './control-wire.ts'

export interface CallOptions {
  onProgress?: ((progress: unknown) => void) | undefined
  /** Takes the bytes that an operation sends before its answer. */
  onBytes?: ((bytes: Uint8Array) => void) | undefined
  signal?: AbortSignal | undefined
}

/** Asks the daemon of one store. */
export interface ControlClient {
  /**
   * @returns the `ok` value of the answer
   * @throws ModelcacheError with the daemon's code, message and exit code; `daemon-away` when
   *   nothing listens or the daemon ended before it answered, `foreign-store` when this user
   *   may not enter the store
   */
  call(op: string, args?: ControlArgs, options?: CallOptions): Promise<unknown>
}

/** A client of the control socket of a store; each call is a connection of its own. */
export function controlClient(store: string): ControlClient {
  return {
    async call(op, args = {}, options = {}) {
      const folder = await openRunFolder(store)
      try {
        // A path of any length has a short name by its descriptor: sun_path holds 108 bytes.
        const path = `/proc/self/fd/${folder.fd}/${CONTROL_SOCKET}`
        return await ask(createConnection(path), op, args, options)
      } catch (error) {
        throw refusedOr(error, store)
      } finally {
        await folder.close()
      }
    },
  }
}

async function openRunFolder(store: string): Promise<FileHandle> {
  try {
    return await open(join(store, 'run'), constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (error) {
    throw isErrno(error, 'ENOENT') ? away(error) : refusedOr(error, store)
  }
}

/** A store is closed to all but its owner, and so is everything in it. */
function refusedOr(error: unknown, store: string): unknown {
  return isErrno(error, 'EACCES')
    ? new ModelcacheError(
        `ask the daemon of ${store}: permission denied; the store belongs to another user`,
        { code: 'foreign-store', exitCode: 1, cause: error },
      )
    : error
}

function ask(
  socket: Socket,
  op: string,
  args: ControlArgs,
  { onProgress, onBytes, signal }: CallOptions,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const stop = () => reject(signal?.reason)
  const lines = new LineDecoder()
  const take = (line: string) => {
    const answer = parseLine(line)
    if (onBytes !== undefined && Number.isSafeInteger(answer?.bytes)) {
      lines.expectBytes(Number(answer?.bytes), onBytes)
    } else if (answer !== undefined && 'progress' in answer) {
      onProgress?.(answer.progress)
    } else if (answer !== undefined && 'ok' in answer) {
      resolve(answer.ok)
    } else {
      reject(errorOf(answer?.error))
    }
  }
  socket.on('data', (chunk) => {
    try {
      lines.push(chunk, take)
    } catch (error) {
      reject(error)
    }
  })
  socket.once('error', (error) =>
    reject(isErrno(error, 'ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE') ? away(error) : error),
  )
  socket.once('close', () => reject(away(undefined)))
  signal?.addEventListener('abort', stop, { once: true })
  if (signal?.aborted) {
    stop()
  }
  socket.write(`${JSON.stringify({ op, args })}\n`)
  return promise.finally(() => {
    signal?.removeEventListener('abort', stop)
    socket.destroy()
  })
}

function away(cause: unknown): ModelcacheError {
  return new ModelcacheError('the daemon does not answer', {
    code: 'daemon-away',
    exitCode: 1,
    cause,
  })
}

function errorOf(value: unknown): ModelcacheError {
  if (typeof value === 'object' && value !== null && 'message' in value && 'code' in value) {
    const exitCode = 'exitCode' in value ? exitCodeOf(value.exitCode) : 1
    return new ModelcacheError(String(value.message), { code: String(value.code), exitCode })
  }
  return new ModelcacheError('the daemon’s answer cannot be read: it is of another version', {
    code: 'bad-answer',
    exitCode: 1,
  })
}

function exitCodeOf(value: unknown): ExitCode {
  switch (value) {
    case 0:
    case 2:
    case 3:
    case 4:
    case 5:
      return value
    default:
      return 1
  }
}
