import type { Finished } from '../support/index.ts'
import type { Sample, Sizes } from './result.ts'

/** What the probe prints for one measure. */
export type Probed = Pick<Sample, 'measure' | 'seconds' | 'amount' | 'unit'>

/** A way in that is open: a directory, and who works in it. */
export interface OpenWay {
  /** What the mount says of itself. */
  readonly detail: string
  /** Runs one step of probe.py in the directory. */
  probe(step: string, sizes: Sizes): Promise<Probed[]>
  /** Commits until nothing is open or dirty; absent where there is nothing to commit to. */
  readonly commit?: () => Promise<void>
  close(): Promise<void>
}

export interface Way {
  readonly id: string
  readonly title: string
  /** @param base a new directory for all that it makes. @throws MissingWay */
  open(base: string): Promise<OpenWay>
}

/** This machine or this version has no such way in; the message says why. */
export class MissingWay extends Error {
  override readonly name = 'MissingWay'
}

/** As whom, with which environment and in which namespace programs run. */
export interface Caller {
  run(command: string, args: string[]): Promise<Finished>
  /** Where the clone is to them. */
  readonly repository: string
  /** The interpreter: the same one for all, also for who cannot reach it where it lies. */
  readonly python: string
  /** Node and the launcher. */
  readonly modelcache: readonly [string, string]
  close(): Promise<void>
}

/** A whole step at its slowest: the large sizes through the slowest mount. */
export const STEP_DEADLINE_MS = 600_000
