/** How long and how much a peer may keep us waiting. */
export interface FetchLimits {
  /** From the request on its connection until the head of the answer. */
  firstByteMs: number
  /** The longest silence within a body. */
  stallMs: number
  /** Below this rate, measured over `rateWindowMs` of waiting, a peer counts as failed. */
  minimumBytesPerSecond: number
  rateWindowMs: number
  /** Connections to one peer. More than the hydrator's requests, so that nodes never queue. */
  maxSocketsPerPeer: number
}

/**
 * An extent is 1 MiB and a read waits 30 s by default: a peer below 64 KiB/s would take longer
 * than half of that for one extent, so it is left while another one can still be tried.
 */
export const DEFAULT_FETCH_LIMITS: FetchLimits = {
  firstByteMs: 8_000,
  stallMs: 5_000,
  minimumBytesPerSecond: 64 * 1024,
  rateWindowMs: 4_000,
  maxSocketsPerPeer: 24,
}
