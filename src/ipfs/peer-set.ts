import {
  type Clock,
  codeOf,
  type Logger,
  ModelcacheError,
  messageOf,
  systemClock,
} from '../base/index.ts'
import type { HttpPeer } from './http-peer.ts'

/** First pause of a peer that failed; it doubles with each failure in a row. */
const FIRST_PAUSE_MS = 500
const MAX_PAUSE_MS = 30_000
/** A peer that sent wrong bytes is asked last for this long: it costs a transfer to find out. */
const LIAR_PAUSE_MS = 120_000
/** More reasons than this do not make a message clearer. */
const MAX_REASONS = 4

interface Health {
  failures: number
  pausedUntilMs: number
}

/**
 * The peers and how they have done. A paused peer is asked last, not never: when the others
 * cannot help either, it may have come back.
 */
export class PeerSet {
  readonly peers: readonly HttpPeer[]
  readonly #health = new Map<HttpPeer, Health>()
  readonly #logger: Logger
  readonly #clock: Clock

  constructor(peers: readonly HttpPeer[], logger: Logger, clock: Clock = systemClock) {
    this.peers = peers
    this.#logger = logger
    this.#clock = clock
  }

  /** All peers, best first: not paused before paused, then those with fewer requests under way. */
  inOrder(): HttpPeer[] {
    const now = this.#clock.monotonicMs()
    const pause = (peer: HttpPeer) =>
      Math.max(0, (this.#health.get(peer)?.pausedUntilMs ?? 0) - now)
    return [...this.peers].sort((a, b) => pause(a) - pause(b) || a.active - b.active)
  }

  succeeded(peer: HttpPeer): void {
    this.#health.delete(peer)
  }

  /** Notes a failure. That a peer lacks something is no fault of it. */
  failed(peer: HttpPeer, error: unknown): void {
    const code = codeOf(error)
    this.#logger.debug('a peer could not help', {
      peer: peer.address.shown,
      reason: messageOf(error),
    })
    if (code === 'peer-lacks') {
      return
    }
    const failures = (this.#health.get(peer)?.failures ?? 0) + 1
    const pauseMs =
      code === 'peer-lies'
        ? LIAR_PAUSE_MS
        : Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 10))
    if (code === 'peer-lies') {
      this.#logger.warn('a peer sent wrong bytes', {
        peer: peer.address.shown,
        reason: messageOf(error),
      })
    }
    this.#health.set(peer, { failures, pausedUntilMs: this.#clock.monotonicMs() + pauseMs })
  }

  close(): void {
    for (const peer of this.peers) {
      peer.close()
    }
  }
}

/** Why one peer did not help, for the error that names all of them. */
export interface PeerFailure {
  peer: HttpPeer
  error: unknown
}

/**
 * The error when no peer could help: code `no-peers` where there is none to ask (asking again is
 * in vain), else `unavailable` (a peer may come back).
 */
export function unavailable(what: string, failures: readonly PeerFailure[]): ModelcacheError {
  if (failures.length === 0) {
    return new ModelcacheError(`fetch ${what}: not here, and no peer is known`, {
      code: 'no-peers',
      errno: 'EIO',
      exitCode: 1,
    })
  }
  const reasons = failures
    .slice(0, MAX_REASONS)
    .map(({ peer, error }) => `${peer.address.shown}: ${messageOf(error)}`)
  const more = failures.length > MAX_REASONS ? `; ${failures.length - MAX_REASONS} more` : ''
  return new ModelcacheError(
    `fetch ${what}: no peer could send it (${reasons.join('; ')}${more})`,
    {
      code: 'unavailable',
      errno: 'EIO',
      exitCode: 1,
      cause: failures.at(-1)?.error,
    },
  )
}
