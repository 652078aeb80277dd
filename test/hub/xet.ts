import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sendError, sendJson } from './replies.ts'
import { parseRange } from './transfer.ts'

/**
 * The reading half of a Xet content-addressed store, enough for the real hf_xet to download with:
 * reconstructions (v1) and the ranges of xorbs, chunks uncompressed. Source: the OpenAPI
 * description and xorb_chunk_format.rs of huggingface/xet-core.
 */
export interface XetStore {
  readonly url: string
  /** Bytes of xorbs sent since the start. */
  bytesServed(): number
  /** Bytes a second for each answer with xorb data; unlimited if undefined. */
  bytesPerSecond: number | undefined
  /** Offers a file; its Xet hash. */
  add(source: string, sizeBytes: number, sha256: string): string
  hashOf(sha256: string): string | undefined
  close(): Promise<void>
}

/** The largest chunk that the format allows. */
const CHUNK_BYTES = 128 * 1024
/** A xorb of ours holds 64 chunks; the format allows 64 MiB. */
const CHUNKS_PER_XORB = 64
const XORB_CONTENT_BYTES = CHUNK_BYTES * CHUNKS_PER_XORB
/** Version, compressed length (3 bytes), scheme, uncompressed length (3 bytes). */
const CHUNK_HEADER_BYTES = 8

interface XetFile {
  source: string
  sizeBytes: number
}

export async function startXetStore(): Promise<XetStore> {
  const files = new Map<string, XetFile>()
  const state = { url: '', sent: 0 }
  const store: XetStore = {
    get url() {
      return state.url
    },
    bytesPerSecond: undefined,
    bytesServed: () => state.sent,
    add: (source, sizeBytes, sha256) => {
      const hash = xetHash(sha256)
      files.set(hash, { source, sizeBytes })
      return hash
    },
    hashOf: (sha256) => (files.has(xetHash(sha256)) ? xetHash(sha256) : undefined),
    close: async () => {
      await new Promise<void>((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)))
        server.closeAllConnections()
      })
    },
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const path = new URL(request.url ?? '/', 'http://cas').pathname
    const wanted = /^\/v1\/reconstructions\/([0-9a-f]{64})$/.exec(path)
    const file = files.get(wanted?.[1] ?? '')
    if (wanted?.[1] !== undefined && file !== undefined) {
      return reconstruct(state.url, wanted[1], file, request, response)
    }
    const xorb = /^\/xorbs\/([0-9a-f]{64})\/(\d+)$/.exec(path)
    const part = files.get(xorb?.[1] ?? '')
    if (xorb === null || part === undefined) return sendError(response, 404, undefined, path)
    const body = rangeOf(await serialize(part, Number(xorb[2])), request.headers.range)
    response.writeHead(206, { 'Content-Length': body.length })
    await sendSlowly(response, body, store.bytesPerSecond, (bytes) => {
      state.sent += bytes
    })
  }
  const server = createServer((request, response) => {
    answer(request, response).catch((error: Error) => {
      response.destroy(error)
      process.emitWarning(`xet store: ${request.url}: ${error.stack}`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return store
}

/** Any name will do: clients do not recompute it when they read. */
function xetHash(sha256: string): string {
  return createHash('sha256').update('xet').update(sha256).digest('hex')
}

function reconstruct(
  url: string,
  hash: string,
  file: XetFile,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const range = parseRange(request.headers.range, file.sizeBytes)
  if (range === 'unsatisfiable') {
    response.writeHead(416).end()
    return
  }
  const { start, end } = range ?? { start: 0, end: file.sizeBytes }
  const terms: unknown[] = []
  const fetchInfo: Record<string, unknown[]> = {}
  const firstXorb = Math.floor(start / XORB_CONTENT_BYTES)
  for (let index = firstXorb; index * XORB_CONTENT_BYTES < end; index += 1) {
    const base = index * XORB_CONTENT_BYTES
    const content = Math.min(XORB_CONTENT_BYTES, file.sizeBytes - base)
    const first = Math.max(0, Math.floor((start - base) / CHUNK_BYTES))
    const last = Math.ceil(Math.min(content, end - base) / CHUNK_BYTES)
    const name = createHash('sha256').update(`${hash} ${index}`).digest('hex')
    const chunks = { start: first, end: last }
    const unpacked = Math.min(content, last * CHUNK_BYTES) - first * CHUNK_BYTES
    terms.push({ hash: name, unpacked_length: unpacked, range: chunks })
    const bytesStart = first * (CHUNK_BYTES + CHUNK_HEADER_BYTES)
    const bytes = unpacked + (last - first) * CHUNK_HEADER_BYTES
    fetchInfo[name] = [
      {
        range: chunks,
        url: `${url}/xorbs/${hash}/${index}`,
        // Both ends included, as in a Range header.
        url_range: { start: bytesStart, end: bytesStart + bytes - 1 },
      },
    ]
  }
  const offset = start - firstXorb * XORB_CONTENT_BYTES
  sendJson(response, 200, {
    offset_into_first_range: offset % CHUNK_BYTES,
    terms,
    fetch_info: fetchInfo,
  })
}

/** The chunks of one xorb, each with its header. */
async function serialize(file: XetFile, index: number): Promise<Buffer> {
  const base = index * XORB_CONTENT_BYTES
  const content = Buffer.alloc(Math.min(XORB_CONTENT_BYTES, file.sizeBytes - base))
  const handle = await open(file.source)
  try {
    await handle.read(content, 0, content.length, base)
  } finally {
    await handle.close()
  }
  const parts: Buffer[] = []
  for (let start = 0; start < content.length; start += CHUNK_BYTES) {
    const chunk = content.subarray(start, start + CHUNK_BYTES)
    const header = Buffer.alloc(CHUNK_HEADER_BYTES)
    header.writeUIntLE(chunk.length, 1, 3)
    header.writeUIntLE(chunk.length, 5, 3)
    parts.push(header, chunk)
  }
  return Buffer.concat(parts)
}

function rangeOf(body: Buffer, header: string | undefined): Buffer {
  const range = parseRange(header, body.length)
  if (range === undefined || range === 'unsatisfiable') return body
  return body.subarray(range.start, range.end)
}

async function sendSlowly(
  response: ServerResponse,
  body: Buffer,
  bytesPerSecond: number | undefined,
  count: (bytes: number) => void,
): Promise<void> {
  const step = bytesPerSecond === undefined ? body.length : 256 * 1024
  for (let start = 0; start < body.length; start += step) {
    const piece = body.subarray(start, start + step)
    response.write(piece)
    count(piece.length)
    if (bytesPerSecond === undefined) continue
    await new Promise((resolve) => setTimeout(resolve, (piece.length / bytesPerSecond) * 1000))
  }
  response.end()
}
