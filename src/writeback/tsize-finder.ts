import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { type Clock, withDeadline } from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import type { PlannedDirectory } from './plan.ts'

/** How long one root node may be asked for over the network; the answer is only advisory. */
const ASK_MS = 2000

/**
 * Finds the cumulative size that a link to a placeholder carries, so that a directory which came
 * from elsewhere keeps its CID. The record has no room for it; the directory that listed the
 * name has it, also after the placeholder was moved to another one.
 */
export class TsizeFinder {
  readonly #directories: readonly PlannedDirectory[]
  readonly #getBlock: GetBlock
  readonly #clock: Pick<Clock, 'setTimeout'>
  #byCid: Promise<ReadonlyMap<string, number>> | undefined

  constructor(
    directories: readonly PlannedDirectory[],
    getBlock: GetBlock,
    clock: Pick<Clock, 'setTimeout'>,
  ) {
    this.#directories = directories
    this.#getBlock = getBlock
    this.#clock = clock
  }

  async find(
    directory: PlannedDirectory,
    name: string,
    { cid, sizeBytes }: { cid: CID; sizeBytes: number },
  ): Promise<number> {
    const own = (await directory.previous.entries()).get(name)
    if (own?.cid.equals(cid)) {
      return own.tsizeBytes
    }
    this.#byCid ??= this.#collect()
    const moved = (await this.#byCid).get(cid.toString())
    return moved ?? (await this.#ask(cid, sizeBytes))
  }

  /** A move changes the directory that it leaves too, so that one is in the same commit. */
  async #collect(): Promise<ReadonlyMap<string, number>> {
    const sizes = new Map<string, number>()
    for (const { previous } of this.#directories) {
      for (const { cid, tsizeBytes } of (await previous.entries()).values()) {
        sizes.set(cid.toString(), tsizeBytes)
      }
    }
    return sizes
  }

  /** Without an answer the size of the content stands in: Tsize is a hint to readers. */
  async #ask(cid: CID, sizeBytes: number): Promise<number> {
    if (cid.code !== dagPb.code) {
      return sizeBytes
    }
    const signal = withDeadline(undefined, ASK_MS, this.#clock)
    let bytes: Uint8Array
    try {
      bytes = await this.#getBlock(cid, signal)
    } catch {
      // Whatever the reason, the commit is as good without: no reader trusts this number.
      return sizeBytes
    }
    return dagPb.decode(bytes).Links.reduce((sum, { Tsize }) => sum + (Tsize ?? 0), bytes.length)
  }
}
