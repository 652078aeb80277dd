import { type FileHandle, open } from 'node:fs/promises'
import { connect } from 'node:net'
import { isErrno, ModelcacheError, messageOf, withDeadline } from '../base/index.ts'
import { STATUS_DEADLINE_MS } from '../config/index.ts'
import { foreignStore } from './foreign-store.ts'

/** What the keeper says of itself to anybody who may open its socket. */
export interface KeeperFacts {
  readonly pid: number
  readonly daemonPid: number | null
  /** Why no daemon can be started, after several tries; null while one runs or may come. */
  readonly daemon?: { readonly trouble: string | null }
  readonly restarts: number
  readonly mountpoint: string
  readonly store: string
  readonly readOnly: boolean
  readonly state: string
  readonly passthrough: { readonly active: boolean; readonly reason: string }
  readonly stats: Readonly<Record<string, unknown>>
}

/** The keeper's line is a page of numbers; more than this is not from a keeper. */
const MAX_ANSWER_BYTES = 256 * 1024

/**
 * Asks a store's keeper for its facts.
 *
 * @returns undefined if no keeper listens: none was started, or it is dead
 * @throws ModelcacheError `foreign-store` where this user may not ask, `keeper-silent`
 */
export async function askKeeper(
  store: string,
  signal?: AbortSignal,
): Promise<KeeperFacts | undefined> {
  let folder: FileHandle
  try {
    folder = await open(`${store}/run`, 'r')
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      return undefined
    }
    throw isErrno(error, 'EACCES') ? foreignStore(store, error) : error
  }
  try {
    // A socket's address holds 107 bytes; the way through the descriptor is always short.
    const address = `/proc/self/fd/${folder.fd}/keeper.sock`
    const text = await readAll(address, withDeadline(signal, STATUS_DEADLINE_MS))
    return parseFacts(text)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE')) {
      return undefined
    }
    if (isErrno(error, 'EACCES')) {
      throw foreignStore(store, error)
    }
    throw new ModelcacheError(`ask the keeper of ${store}: ${messageOf(error)}`, {
      code: 'keeper-silent',
      cause: error,
    })
  } finally {
    await folder.close()
  }
}

function readAll(address: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(address)
    const chunks: Buffer[] = []
    let length = 0
    const fail = (error: unknown) => {
      socket.destroy()
      reject(error)
    }
    const stop = () => fail(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > MAX_ANSWER_BYTES) {
        fail(new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`))
      }
    })
    socket.on('error', fail)
    socket.on('close', () => {
      signal.removeEventListener('abort', stop)
      resolve(Buffer.concat(chunks).toString('utf8'))
    })
  })
}

function parseFacts(text: string): KeeperFacts {
  const facts: unknown = JSON.parse(text)
  if (
    typeof facts === 'object' &&
    facts !== null &&
    'pid' in facts &&
    Number.isSafeInteger(facts.pid) &&
    'mountpoint' in facts &&
    typeof facts.mountpoint === 'string'
  ) {
    return facts as KeeperFacts
  }
  throw new Error('not the answer of a keeper')
}
