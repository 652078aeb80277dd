/** How much is fetched at once and how long it may take. */
export interface HydrateLimits {
  /**
   * A read fails when this long nothing of what it waits for has arrived. Counted from the last
   * extent that came, so that a large file that does arrive is never given up.
   */
  deadlineMs: number
  /** Requests to peers at a time, over all files; each holds one leaf in memory. */
  jobs: number
  /** Of those, how many may read ahead: a read that somebody waits for always finds room. */
  aheadJobs: number
  /** Extents of one request: 8 MiB, which a peer sends about as fast as it can. */
  jobExtents: number
  /** A request that lasts longer than this makes room after its next extent if others wait. */
  turnMs: number
  /** Requests at a time for one read: a read of a whole large file must not hold up the others. */
  jobsPerFill: number
  /** Extents that are written and not yet durable, per file, before they are synced. */
  syncExtents: number
  /** A file that nobody reads for this long is synced and its descriptor closed. */
  idleMs: number
  /** Descriptors of placeholders that are kept open between reads. */
  openFiles: number
}

export const DEFAULT_HYDRATE_LIMITS: HydrateLimits = {
  deadlineMs: 30_000,
  jobs: 8,
  aheadJobs: 6,
  jobExtents: 8,
  turnMs: 2_000,
  jobsPerFill: 4,
  syncExtents: 64,
  idleMs: 1_500,
  openFiles: 128,
}

/** First pause after a failed try; it doubles up to the longest. */
export const FIRST_PAUSE_MS = 100
export const LONGEST_PAUSE_MS = 2_000
