import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CID } from 'multiformats/cid'
import { codeOf, type Logger, messageOf, type Range } from '../base/index.ts'
import { type GetBlock, type NodeStat, statNode } from '../dag/index.ts'
import { askedRange } from './byte-range.ts'
import { fileContent } from './file-content.ts'
import { isLoopbackHost } from './host-check.ts'
import type { ServedSet } from './served-set.ts'
import { tokenMatches } from './token.ts'

/** The current root as `GET /t/TOKEN/root` tells it; CIDs as strings. */
export interface RootAnswer {
  root: string
  tree: string
  meta: string
  sequence: number
  committedAt: string
}

export interface ResponderComponents {
  /** Verified blocks of our own store; throws `NotFoundError` for what is not here. */
  getBlock: GetBlock
  served: ServedSet
  currentRoot(): RootAnswer | undefined
  logger: Logger
}

const RAW_TYPE = 'application/vnd.ipld.raw'
/** Content of a CID never changes. */
const IMMUTABLE = 'public, max-age=31536000, immutable'

/** Answers the requests of one share. Never throws: what fails is answered and logged. */
export class Responder {
  readonly #components: ResponderComponents
  readonly #token: string

  constructor(components: ResponderComponents, token: string) {
    this.#components = components
    this.#token = token
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // An answer whose reader went away must stop reading leaves.
    const gone = new AbortController()
    response.once('close', () => gone.abort(new Error('the connection was closed')))
    response.setHeader('x-content-type-options', 'nosniff')
    try {
      await this.#route(request, response, gone.signal)
    } catch (error) {
      this.#fail(request, response, error, gone.signal.aborted)
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse, signal: AbortSignal) {
    if (!isLoopbackHost(request.headers.host)) {
      sendText(response, 403, 'this share answers on loopback only')
      return
    }
    const url = URL.parse(request.url ?? '', 'http://localhost')
    const [, token, first, name, ...rest] =
      /^\/t\/(.*)$/
        .exec(url?.pathname ?? '')?.[0]
        .split('/')
        .slice(1) ?? []
    // Without the token nothing can be learnt, not even which methods and paths there are.
    if (url === null || token === undefined || !tokenMatches(this.#token, token)) {
      sendText(response, 404, 'not found')
      return
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      sendText(response, 405, 'only GET and HEAD')
      return
    }
    if (first === 'root' && name === undefined) {
      this.#sendRoot(response)
      return
    }
    if (first !== 'ipfs' || name === undefined || rest.length > 0) {
      sendText(response, 404, 'not found')
      return
    }
    const cid = parsedCid(name)
    if (cid === undefined) {
      sendText(response, 400, 'no CID')
      return
    }
    const wantsRaw =
      url.searchParams.get('format') === 'raw' || (request.headers.accept ?? '').includes(RAW_TYPE)
    return wantsRaw
      ? await this.#sendBlock(cid, request, response, signal)
      : await this.#sendFile(cid, request, response, signal)
  }

  #sendRoot(response: ServerResponse): void {
    const root = this.#components.currentRoot()
    if (root === undefined) {
      sendText(response, 404, 'nothing is committed yet')
      return
    }
    response.setHeader('cache-control', 'no-store')
    send(response, 200, 'application/json', JSON.stringify(root))
  }

  async #sendBlock(
    cid: CID,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ) {
    const etag = `"${cid}.raw"`
    if (!(await this.#components.served.hasBlock(cid))) {
      sendText(response, 404, 'not found')
      return
    }
    const bytes = await this.#components.getBlock(cid, signal)
    setContentHeaders(response, etag)
    if (request.headers['if-none-match'] === etag) {
      send(response, 304, RAW_TYPE, '')
      return
    }
    send(response, 200, RAW_TYPE, bytes)
  }

  async #sendFile(
    cid: CID,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ) {
    if (!(await this.#components.served.hasNodeOrFile(cid))) {
      sendText(response, 404, 'not found')
      return
    }
    const root = await this.#components.getBlock(cid, signal)
    const stat = await this.#stat(cid, root)
    if (stat?.type !== 'f') {
      sendText(response, 400, 'not a file: ask for its block with ?format=raw')
      return
    }
    const etag = `"${cid}"`
    setContentHeaders(response, etag)
    response.setHeader('accept-ranges', 'bytes')
    const ifRange = request.headers['if-range']
    // A Range header means something for GET only (RFC 9110, section 14.2).
    const applies = request.method === 'GET' && (ifRange === undefined || ifRange === etag)
    const asked = askedRange(applies ? request.headers.range : undefined, stat.sizeBytes)
    if (asked.kind === 'unsatisfiable') {
      response.setHeader('content-range', `bytes */${stat.sizeBytes}`)
      sendText(response, 416, 'the range is outside of the file')
      return
    }
    if (asked.kind === 'part') {
      const { start, end } = asked.range
      response.setHeader('content-range', `bytes ${start}-${end - 1}/${stat.sizeBytes}`)
      await this.#stream(response, 206, { cid, root }, asked.range, signal)
      return
    }
    const whole = { start: 0, end: stat.sizeBytes }
    if (request.method === 'HEAD') {
      response.setHeader('content-length', stat.sizeBytes)
      send(response, 200, 'application/octet-stream')
      return
    }
    await this.#stream(response, 200, { cid, root }, whole, signal)
  }

  /** What is no UnixFS node is no file either. */
  async #stat(cid: CID, bytes: Uint8Array): Promise<NodeStat | undefined> {
    try {
      return await statNode(async () => bytes, cid)
    } catch (error) {
      this.#components.logger.debug('asked for a file that is none', {
        cid: cid.toString(),
        reason: messageOf(error),
      })
      return undefined
    }
  }

  async #stream(
    response: ServerResponse,
    status: number,
    file: { cid: CID; root: Uint8Array },
    range: Range,
    signal: AbortSignal,
  ): Promise<void> {
    // The root was read already; of a small file it is all there is.
    const getBlock: GetBlock = async (cid) =>
      cid.equals(file.cid) ? file.root : await this.#components.getBlock(cid, signal)
    const content = fileContent(getBlock, file.cid, range, signal)
    // The first leaf is read before the head is sent, so that what is not here is a plain 404.
    const first = await content.next()
    response.writeHead(status, {
      'content-type': 'application/octet-stream',
      'content-length': range.end - range.start,
    })
    const all = async function* () {
      if (first.done !== true) {
        yield first.value
      }
      yield* content
    }
    await pipeline(Readable.from(all(), { highWaterMark: 1, objectMode: true }), response, {
      signal,
    })
  }

  #fail(
    request: IncomingMessage,
    response: ServerResponse,
    error: unknown,
    readerIsGone: boolean,
  ): void {
    if (readerIsGone) {
      return
    }
    const missing = error instanceof Error && error.name === 'NotFoundError'
    this.#components.logger[missing ? 'debug' : 'warn']('could not answer a request', {
      path: request.url ?? '',
      code: codeOf(error),
      reason: messageOf(error),
    })
    if (response.headersSent) {
      // The length was promised: only a broken connection says that the answer is not whole.
      response.destroy()
      return
    }
    for (const name of ['content-range', 'cache-control', 'etag', 'accept-ranges']) {
      response.removeHeader(name)
    }
    sendText(response, missing ? 404 : 500, missing ? 'not found' : 'failed')
  }
}

function parsedCid(text: string): CID | undefined {
  try {
    return CID.parse(text)
  } catch {
    // The parser throws many kinds of errors for text that is no CID; all mean the same.
    return undefined
  }
}

function setContentHeaders(response: ServerResponse, etag: string): void {
  response.setHeader('etag', etag)
  response.setHeader('cache-control', IMMUTABLE)
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.setHeader('cache-control', 'no-store')
  send(response, status, 'text/plain; charset=utf-8', `${text}\n`)
}

/** Sends a whole answer; node leaves out the body of a HEAD or 304 by itself. */
function send(
  response: ServerResponse,
  status: number,
  type: string,
  body?: string | Uint8Array,
): void {
  response.setHeader('content-type', type)
  if (body !== undefined && status !== 304) {
    response.setHeader('content-length', Buffer.byteLength(body))
  }
  response.writeHead(status)
  response.end(body)
}
