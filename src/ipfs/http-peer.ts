import type { CID } from 'multiformats/cid'
import { type Clock, ModelcacheError, type Range, systemClock } from '../base/index.ts'
import { GuardedRequester, type GuardedResponse } from './guarded-request.ts'
import type { FetchLimits } from './limits.ts'
import type { PeerAddress } from './peer-address.ts'
import { assertVerifiable, MAX_BLOCK_BYTES, matchesCid } from './verify.ts'

/** A leaf of a file: `length` bytes at `offset`, whose SHA-256 the CID names. */
export interface FileLeaf {
  cid: CID
  offset: number
  length: number
}

/** A leaf with its bytes, verified. */
export interface FetchedLeaf {
  cid: CID
  offset: number
  bytes: Uint8Array
}

const RAW_TYPE = 'application/vnd.ipld.raw'

/**
 * One peer that speaks HTTP as `modelcache share` does: `/ipfs/CID?format=raw` for blocks, as in
 * https://specs.ipfs.tech/http-gateways/trustless-gateway/, and ranges of `/ipfs/CID` for files.
 * Nothing leaves here that was not hashed.
 */
export class HttpPeer {
  readonly address: PeerAddress
  readonly #requester: GuardedRequester
  #active = 0
  #requests = 0
  #receivedBytes = 0

  constructor(address: PeerAddress, limits: FetchLimits, clock: Clock = systemClock) {
    this.address = address
    this.#requester = new GuardedRequester(address.url.startsWith('https:'), limits, clock)
  }

  /** Requests under way. */
  get active(): number {
    return this.#active
  }

  get stats(): { requests: number; receivedBytes: number } {
    return { requests: this.#requests, receivedBytes: this.#receivedBytes }
  }

  /** Fetches one block. Throws `peer-lacks`, `peer-lies`, `peer-refuses`, or what a request throws. */
  async block(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    assertVerifiable(cid)
    const url = `${this.address.url}/ipfs/${cid}?format=raw`
    return await this.#counted(async () => {
      const response = await this.#requester.get(url, { accept: RAW_TYPE }, signal)
      try {
        expectStatus(response, 200, cid)
        const bytes = await this.#collect(response, cid)
        if (!matchesCid(cid, bytes)) {
          throw lie(cid, `sent ${bytes.length} bytes of another hash`)
        }
        return bytes
      } finally {
        response.discard()
      }
    })
  }

  /**
   * Fetches leaves of a stored file with one range request and yields each as soon as it is
   * whole and verified. The leaves must follow each other without a gap.
   */
  async *leaves(
    file: CID,
    leaves: readonly FileLeaf[],
    signal: AbortSignal,
  ): AsyncGenerator<FetchedLeaf> {
    const range = rangeOf(leaves)
    this.#active += 1
    this.#requests += 1
    let response: GuardedResponse | undefined
    try {
      const headers = { range: `bytes=${range.start}-${range.end - 1}` }
      response = await this.#requester.get(`${this.address.url}/ipfs/${file}`, headers, signal)
      expectRange(response, range, file)
      yield* this.#split(response, leaves, file)
    } finally {
      response?.discard()
      this.#active -= 1
    }
  }

  close(): void {
    this.#requester.close()
  }

  async #counted<T>(fn: () => Promise<T>): Promise<T> {
    this.#active += 1
    this.#requests += 1
    try {
      return await fn()
    } finally {
      this.#active -= 1
    }
  }

  async #collect(response: GuardedResponse, cid: CID): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of response.body) {
      length += chunk.length
      this.#receivedBytes += chunk.length
      if (length > MAX_BLOCK_BYTES) {
        throw lie(cid, `sent a block larger than ${MAX_BLOCK_BYTES} bytes`)
      }
      chunks.push(chunk)
    }
    return Buffer.concat(chunks, length)
  }

  /** Cuts the body into leaves. Holds one leaf at a time. */
  async *#split(
    response: GuardedResponse,
    leaves: readonly FileLeaf[],
    file: CID,
  ): AsyncGenerator<FetchedLeaf> {
    const queue = leaves[Symbol.iterator]()
    let leaf = queue.next().value
    let buffer = Buffer.allocUnsafe(leaf?.length ?? 0)
    let filled = 0
    for await (const chunk of response.body) {
      this.#receivedBytes += chunk.length
      let rest = chunk
      while (rest.length > 0) {
        if (leaf === undefined) {
          throw lie(file, 'sent more bytes than were asked for')
        }
        const part = rest.subarray(0, leaf.length - filled)
        buffer.set(part, filled)
        filled += part.length
        rest = rest.subarray(part.length)
        if (filled === leaf.length) {
          if (!matchesCid(leaf.cid, buffer)) {
            throw lie(leaf.cid, `sent another hash at offset ${leaf.offset}`)
          }
          yield { cid: leaf.cid, offset: leaf.offset, bytes: buffer }
          leaf = queue.next().value
          // A new buffer for each: the one that was handed out belongs to its reader.
          buffer = Buffer.allocUnsafe(leaf?.length ?? 0)
          filled = 0
        }
      }
    }
    if (leaf !== undefined) {
      throw new ModelcacheError(`${file}: the answer ended at ${leaf.offset + filled}`, {
        code: 'peer-broke',
        errno: 'EIO',
      })
    }
  }
}

/** The bytes that the leaves cover. Throws on a gap, an empty list or a leaf over the limit. */
function rangeOf(leaves: readonly FileLeaf[]): Range {
  const first = leaves[0]
  let end = first?.offset ?? 0
  for (const leaf of leaves) {
    if (leaf.offset !== end || leaf.length <= 0 || leaf.length > MAX_BLOCK_BYTES) {
      throw new ModelcacheError(`leaf ${leaf.cid} at ${leaf.offset}: not the next of its file`, {
        code: 'bad-leaves',
        errno: 'EIO',
      })
    }
    end += leaf.length
  }
  if (first === undefined) {
    throw new ModelcacheError('no leaf was asked for', { code: 'bad-leaves', errno: 'EIO' })
  }
  return { start: first.offset, end }
}

function expectStatus(response: GuardedResponse, status: number, cid: CID): void {
  if (response.status === status) {
    return
  }
  const lacks = response.status === 404 || response.status === 410
  throw new ModelcacheError(`${cid}: HTTP status ${response.status}`, {
    code: lacks ? 'peer-lacks' : 'peer-refuses',
    errno: 'EIO',
  })
}

/** A whole file may come as 200 where the range starts at 0: the leaves bound what is read. */
function expectRange(response: GuardedResponse, range: Range, cid: CID): void {
  if (response.status === 200 && range.start === 0) {
    if (response.headers['content-length'] === String(range.end)) {
      return
    }
    throw lie(cid, 'ignored the range that was asked for')
  }
  expectStatus(response, 206, cid)
  const told = /^bytes (\d+)-(\d+)\//.exec(response.headers['content-range'] ?? '')
  if (Number(told?.[1]) !== range.start || Number(told?.[2]) !== range.end - 1) {
    throw lie(cid, `answered another range than bytes ${range.start}-${range.end - 1}`)
  }
}

function lie(cid: CID, what: string): ModelcacheError {
  return new ModelcacheError(`${cid}: the peer ${what}`, { code: 'peer-lies', errno: 'EIO' })
}
