import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { type Clock, isErrno, ModelcacheError, systemClock, type Timer } from '../base/index.ts'
import type { FetchLimits } from './limits.ts'

/** An answer whose body is still to come. */
export interface GuardedResponse {
  status: number
  headers: IncomingMessage['headers']
  /** Chunks as they arrive. Throws `peer-slow` where the peer keeps us waiting; read at most once. */
  body: AsyncIterable<Uint8Array>
  /** Drops the connection: for a body that nobody wants to read to its end. Idempotent. */
  discard(): void
}

/** Sends GET requests over kept connections, each with a limit on every wait. */
export class GuardedRequester {
  readonly #agent: HttpAgent | HttpsAgent
  readonly #secure: boolean
  readonly #limits: FetchLimits
  readonly #clock: Clock

  constructor(secure: boolean, limits: FetchLimits, clock: Clock = systemClock) {
    // A kept connection is closed by us before the server's own 5 s default would do it.
    const options = { keepAlive: true, keepAliveMsecs: 1_000, maxSockets: limits.maxSocketsPerPeer }
    this.#agent = secure ? new HttpsAgent(options) : new HttpAgent(options)
    this.#secure = secure
    this.#limits = limits
    this.#clock = clock
  }

  /**
   * One request. Redirects are not followed: a peer must not send us elsewhere.
   *
   * @throws the system's error (`ECONNREFUSED`, …), `peer-slow`, or the reason of `signal`
   */
  async get(
    url: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<GuardedResponse> {
    try {
      return await this.#getOnce(url, headers, signal)
    } catch (error) {
      // The peer closed an idle connection at the moment we used it again (Node docs,
      // request.reusedSocket): nothing was answered, so asking once more is right.
      if (error instanceof StaleConnection && !signal.aborted) {
        return await this.#getOnce(url, headers, signal)
      }
      throw error
    }
  }

  close(): void {
    this.#agent.destroy()
  }

  #getOnce(
    url: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<GuardedResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<GuardedResponse>()
    signal.throwIfAborted()
    const send = this.#secure ? requestHttps : requestHttp
    const request = send(url, {
      agent: this.#agent,
      headers: { ...headers, 'accept-encoding': 'identity' },
      signal,
    })
    let timer: Timer | undefined
    request.once('socket', () => {
      const { firstByteMs } = this.#limits
      timer = this.#clock.setTimeout(() => {
        request.destroy(slow(`no answer within ${firstByteMs} ms`))
      }, firstByteMs)
    })
    request.once('response', (response) => {
      timer?.cancel()
      resolve(this.#guarded(response, signal))
    })
    request.on('error', (error) => {
      timer?.cancel()
      const stale = request.reusedSocket && isErrno(error, 'ECONNRESET', 'EPIPE')
      reject(signal.aborted ? signal.reason : stale ? new StaleConnection(error) : error)
    })
    request.end()
    return promise
  }

  #guarded(response: IncomingMessage, signal: AbortSignal): GuardedResponse {
    // Without a listener an error between the head and the first read would end the process;
    // whoever reads the body gets it from there.
    response.on('error', () => undefined)
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: guardedBody(response, this.#limits, this.#clock, signal),
      discard: () => {
        response.destroy()
      },
    }
  }
}

/** An idle connection that its other side had closed already. */
class StaleConnection extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause })
  }
}

function slow(reason: string): ModelcacheError {
  return new ModelcacheError(reason, { code: 'peer-slow', errno: 'EIO' })
}

/**
 * Only the time that we wait for the peer counts: a reader of ours that is slow must not make the
 * peer look slow.
 */
async function* guardedBody(
  response: IncomingMessage,
  limits: FetchLimits,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterator<Uint8Array> = response[Symbol.asyncIterator]()
  let waitedMs = 0
  let bytes = 0
  let finished = false
  try {
    while (true) {
      const since = clock.monotonicMs()
      const timer = clock.setTimeout(() => {
        response.destroy(slow(`silent for ${limits.stallMs} ms`))
      }, limits.stallMs)
      const next = await chunks.next().finally(() => timer.cancel())
      if (next.done === true) {
        finished = true
        return
      }
      waitedMs += clock.monotonicMs() - since
      bytes += next.value.length
      if (waitedMs >= limits.rateWindowMs) {
        assertRate(bytes, waitedMs, limits)
        waitedMs = 0
        bytes = 0
      }
      yield next.value
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    if (!finished) {
      response.destroy()
    }
  }
}

function assertRate(bytes: number, waitedMs: number, limits: FetchLimits): void {
  const rate = (bytes * 1000) / waitedMs
  if (rate < limits.minimumBytesPerSecond) {
    throw slow(`${Math.round(rate)} bytes/s, less than ${limits.minimumBytesPerSecond}`)
  }
}
