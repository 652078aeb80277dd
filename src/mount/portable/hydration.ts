import { type Clock, errnoOf, type Logger, ModelcacheError, type Range } from '../../base/index.ts'
import { EXTENT_BYTES, inodeKey, type PlaceholderRecord } from '../../tree/index.ts'
import type { Filling } from './filling.ts'
import type { OpenFiles } from './open-files.ts'
import { isPlaceholder, recordAt } from './placeholders.ts'
import { procPath } from './places.ts'
import { type Asked, logFailure, type Questions } from './questions.ts'
import type { Truncations } from './truncation.ts'

/**
 * What is asked for in one question when a whole file has to come. Each has its own deadline,
 * which a slow source has to meet.
 */
const WINDOW_BYTES = 8 * 1024 * 1024
/** What failed after less may be asked for again at once. */
const LONG_WAIT_MS = 1000
/** A fill is cancelled when the file is detached, which ends in a file that can be read. */
const MAX_CANCELS = 5

export interface HydrationParts {
  questions: Questions
  files: OpenFiles
  truncations: Truncations
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
}

/** Waiting for what is still remote: a directory's listing, a range of a file, a whole file. */
export class Hydration {
  readonly #parts: HydrationParts
  /** Directories that are being listed: until the answer they are what their record says. */
  readonly #listings = new Map<string, PlaceholderRecord>()

  constructor(parts: HydrationParts) {
    this.#parts = parts
  }

  /** What a directory shows that is being listed: its record goes before its mode is set. */
  listing(key: string): PlaceholderRecord | undefined {
    return this.#listings.size === 0 ? undefined : this.#listings.get(key)
  }

  /** Gives an unlisted directory its entries. */
  async list(asked: Asked, record: PlaceholderRecord): Promise<void> {
    const { questions, logger } = this.#parts
    const key = inodeKey(asked.id)
    const what = `list ${asked.path || '.'}`
    this.#listings.set(key, record)
    try {
      await questions.list(asked)
    } catch (error) {
      // Somebody else's answer may have come in between.
      if (isPlaceholder(procPath(asked.fd), logger)) {
        logFailure(logger, what, error)
        throw error
      }
      return
    } finally {
      this.#listings.delete(key)
    }
    if (recordAt(procPath(asked.fd)) !== undefined) {
      throw failure(`${what}: answered, but not listed`)
    }
  }

  /** Waits until every byte of the range can be read. */
  async present(asked: Asked, filling: Filling, wanted: Range): Promise<void> {
    // The daemon fetches whole extents, and knowing of whole ones saves questions.
    const range = {
      start: Math.floor(wanted.start / EXTENT_BYTES) * EXTENT_BYTES,
      end: Math.min(Math.ceil(wanted.end / EXTENT_BYTES) * EXTENT_BYTES, filling.sizeBytes),
    }
    for (let cancels = 0; ; cancels += 1) {
      await this.#parts.truncations.ended(asked.id)
      if (filling.covers(range) || (await filling.coversOnDisk(range))) {
        return
      }
      if (filling.justFailed(range)) {
        throw failure(`read ${asked.path ?? ''}: it failed a moment ago`)
      }
      try {
        await this.#fill(asked, range)
        filling.add(range)
        return
      } catch (error) {
        if (!filling.isComplete && (cancels >= MAX_CANCELS || errnoOf(error) !== 'ECANCELED')) {
          throw failure(`read ${asked.path ?? ''}: it cannot be fetched`, error)
        }
      }
    }
  }

  /** Waits until the placeholder is an ordinary file: all of it was fetched. */
  async complete(asked: Asked, record: PlaceholderRecord): Promise<void> {
    const { sizeBytes } = record
    await this.windows(asked, sizeBytes)
    if (!this.#isComplete(asked)) {
      // Every range is there: this is answered when the placeholder was made complete.
      await this.#persist(asked, { start: 0, end: sizeBytes })
    }
    if (!this.#isComplete(asked)) {
      throw failure(`${asked.path ?? ''}: every byte was fetched, but it is still a placeholder`)
    }
  }

  /** Fetches the bytes before `end`, part by part. */
  async windows(asked: Asked, end: number): Promise<void> {
    for (let start = 0; start < end && !this.#isComplete(asked); start += WINDOW_BYTES) {
      await this.#persist(asked, { start, end: Math.min(start + WINDOW_BYTES, end) })
    }
  }

  /** The daemon says that an inode is no placeholder any more. */
  becameComplete(key: string): void {
    const filling = this.#parts.files.filling(key)
    if (filling !== undefined) {
      filling.isComplete = true
    }
  }

  #isComplete({ fd }: Asked): boolean {
    return recordAt(procPath(fd)) === undefined
  }

  /** One range, also when the file is detached meanwhile. */
  async #persist(asked: Asked, range: Range): Promise<void> {
    for (let cancels = 0; ; cancels += 1) {
      await this.#parts.truncations.ended(asked.id)
      if (this.#isComplete(asked)) {
        return
      }
      try {
        return await this.#fill(asked, range)
      } catch (error) {
        // What failed may have come with another question meanwhile.
        const again = cancels < MAX_CANCELS && errnoOf(error) === 'ECANCELED'
        if (!again && !this.#isComplete(asked)) {
          throw error
        }
      }
    }
  }

  async #fill(asked: Asked, range: Range): Promise<void> {
    const { questions, clock, logger, files } = this.#parts
    const key = inodeKey(asked.id)
    const sinceMs = clock.monotonicMs()
    try {
      const { complete } = await questions.fill(asked, range.start, range.end)
      files.filling(key)?.add(range)
      if (complete && this.#isComplete(asked)) {
        this.becameComplete(key)
      }
    } catch (error) {
      if (errnoOf(error) !== 'ECANCELED') {
        logFailure(logger, `read ${asked.path ?? ''} from ${range.start} to ${range.end}`, error)
        if (clock.monotonicMs() - sinceMs >= LONG_WAIT_MS) {
          files.filling(key)?.noteFailure(range)
        }
      }
      throw error
    }
  }
}

function failure(message: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(message, { code: 'not-here', errno: 'EIO', cause })
}
