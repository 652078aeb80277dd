import type { Helia } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import type { CID } from 'multiformats/cid'
import { type Clock, type Logger, ModelcacheError, systemClock } from '../base/index.ts'
import { startHelia } from './helia-node.ts'
import { type FetchedLeaf, type FileLeaf, HttpPeer } from './http-peer.ts'
import { DEFAULT_FETCH_LIMITS, type FetchLimits } from './limits.ts'
import { parsePeerAddress } from './peer-address.ts'
import { type PeerFailure, PeerSet, unavailable } from './peer-set.ts'
import { assertVerifiable, inlineBytes, RAW_CODE } from './verify.ts'

/** Everything that has to do with other machines. */
export interface Network {
  /**
   * The block's bytes, verified: from our own store, else from the peers. A node (dag-pb,
   * dag-cbor) that was fetched is kept in the store; a raw leaf is not, its place is a file.
   * Throws `no-peers`, `unavailable`, `unsupported-cid`, or the reason of `signal`.
   */
  getBlock(cid: CID, signal?: AbortSignal): Promise<Uint8Array>
  /** As `getBlock`, from our own store only; undefined for what is not there. */
  getLocal(cid: CID, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /**
   * The leaves of `leaves` that touch `[offset, offset + length)` of the file, in order, each
   * verified, by range requests. `leaves` are raw leaves that follow each other. Every peer is
   * tried; what one has sent already is not asked for again. Throws as `getBlock`.
   */
  fetchRange(
    file: CID,
    offset: number,
    length: number,
    leaves: readonly FileLeaf[],
    signal?: AbortSignal,
  ): AsyncIterable<FetchedLeaf>
  /** The Helia node over the block store, started at the first call. */
  helia(): Promise<Helia>
  stats(): NetworkStats
  /** Ends what is under way. Idempotent. */
  close(): Promise<void>
}

export interface NetworkStats {
  peers: number
  requests: number
  receivedBytes: number
  /** True once Helia was loaded. */
  heliaStarted: boolean
}

export interface NetworkComponents {
  /** Our own blocks: leaves of settled files, and nodes. */
  blockstore: Blockstore
  /** Addresses as `--peer` takes them. */
  peers: readonly string[]
  logger: Logger
  clock?: Clock
}

/** @throws code `bad-peer` for an address that is none */
export function createNetwork(
  components: NetworkComponents,
  limits: Partial<FetchLimits> = {},
): Network {
  return new HttpNetwork(components, { ...DEFAULT_FETCH_LIMITS, ...limits })
}

class HttpNetwork implements Network {
  readonly #blockstore: Blockstore
  readonly #peers: PeerSet
  readonly #closing = new AbortController()
  /** Nodes under way, by CID: many readers of one directory ask for the same. */
  readonly #inFlight = new Map<string, Promise<Uint8Array>>()
  #helia: Promise<Helia> | undefined

  constructor(components: NetworkComponents, limits: FetchLimits) {
    const clock = components.clock ?? systemClock
    const addresses = new Map(components.peers.map(parsePeerAddress).map((a) => [a.url, a]))
    const peers = [...addresses.values()].map((address) => new HttpPeer(address, limits, clock))
    this.#blockstore = components.blockstore
    this.#peers = new PeerSet(peers, components.logger, clock)
  }

  async getBlock(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    const local = await this.getLocal(cid, signal)
    if (local !== undefined) {
      return local
    }
    if (this.#peers.peers.length === 0) {
      throw unavailable(cid.toString(), [])
    }
    return await abortable(this.#fetchOnce(cid), signal)
  }

  async getLocal(cid: CID, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    assertVerifiable(cid)
    const inline = inlineBytes(cid)
    if (inline !== undefined) {
      return inline
    }
    try {
      return await collected(this.#blockstore.get(cid, signal === undefined ? {} : { signal }))
    } catch (error) {
      if (error instanceof Error && error.name === 'NotFoundError') {
        return undefined
      }
      throw error
    }
  }

  async *fetchRange(
    file: CID,
    offset: number,
    length: number,
    leaves: readonly FileLeaf[],
    signal?: AbortSignal,
  ): AsyncGenerator<FetchedLeaf> {
    const end = offset + length
    const wanted = leaves.filter((leaf) => leaf.offset < end && leaf.offset + leaf.length > offset)
    const ending = this.#endingWith(signal)
    const failures: PeerFailure[] = []
    let done = 0
    for (const peer of this.#peers.inOrder()) {
      try {
        for await (const leaf of peer.leaves(file, wanted.slice(done), ending)) {
          done += 1
          yield leaf
        }
        this.#peers.succeeded(peer)
        return
      } catch (error) {
        ending.throwIfAborted()
        this.#peers.failed(peer, error)
        failures.push({ peer, error })
      }
      if (done === wanted.length) {
        return
      }
    }
    throw unavailable(`${file} at ${wanted[done]?.offset ?? offset}`, failures)
  }

  helia(): Promise<Helia> {
    this.#closing.signal.throwIfAborted()
    this.#helia ??= startHelia(
      this.#blockstore,
      (cid, signal) => this.#fromPeers(cid, signal),
      this.#closing.signal,
    )
    return this.#helia
  }

  stats(): NetworkStats {
    const all = this.#peers.peers.map((peer) => peer.stats)
    return {
      peers: all.length,
      requests: all.reduce((sum, { requests }) => sum + requests, 0),
      receivedBytes: all.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0),
      heliaStarted: this.#helia !== undefined,
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new ModelcacheError('the network is closed', { code: 'closed' }))
    await Promise.allSettled(this.#inFlight.values())
    this.#peers.close()
    const helia = await this.#helia?.catch(() => undefined)
    await helia?.stop()
  }

  #fetchOnce(cid: CID): Promise<Uint8Array> {
    const key = cid.toString()
    const running = this.#inFlight.get(key)
    if (running !== undefined) {
      return running
    }
    const fetching = this.#fetch(cid).finally(() => this.#inFlight.delete(key))
    this.#inFlight.set(key, fetching)
    // Its askers may all have gone when it fails; they were told by their own signals.
    fetching.catch(() => undefined)
    return fetching
  }

  /**
   * Not bound to one asker's signal, since others may wait for the same block. It ends by itself:
   * every wait for a peer is limited.
   */
  async #fetch(cid: CID): Promise<Uint8Array> {
    const { signal } = this.#closing
    if (cid.code === RAW_CODE) {
      return await this.#fromPeers(cid, signal)
    }
    const helia = await this.helia()
    try {
      return await collected(helia.blockstore.get(cid, { signal }))
    } catch (error) {
      throw ownErrorOf(error) ?? error
    }
  }

  /** Asks one peer after the other; the broker of Helia. */
  async #fromPeers(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    const failures: PeerFailure[] = []
    for (const peer of this.#peers.inOrder()) {
      try {
        const bytes = await peer.block(cid, signal)
        this.#peers.succeeded(peer)
        return bytes
      } catch (error) {
        signal.throwIfAborted()
        this.#peers.failed(peer, error)
        failures.push({ peer, error })
      }
    }
    throw unavailable(cid.toString(), failures)
  }

  #endingWith(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined
      ? this.#closing.signal
      : AbortSignal.any([signal, this.#closing.signal])
  }
}

/** One array of a block that comes in chunks; most come in one. */
async function collected(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of chunks) {
    parts.push(part)
  }
  const [only] = parts
  return only !== undefined && parts.length === 1 ? only : Buffer.concat(parts)
}

/** Helia wraps what its broker threw into aggregates; ours says which peer failed and why. */
function ownErrorOf(error: unknown): ModelcacheError | undefined {
  if (error instanceof ModelcacheError) {
    return error
  }
  const inner =
    error instanceof Error && 'errors' in error && Array.isArray(error.errors) ? error.errors : []
  return inner.map(ownErrorOf).find((own) => own !== undefined)
}

/** Stops waiting when the signal aborts, while the work goes on for those who still wait. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return await work
  }
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = () => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
