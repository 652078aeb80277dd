import { closeSync, openSync } from 'node:fs'
import { type Clock, type Logger, ModelcacheError, O_PATH } from '../../base/index.ts'
import type { HiddenNames } from './hidden-names.ts'
import type { Hydration } from './hydration.ts'
import type { Marks } from './marks.ts'
import type { OpenFiles } from './open-files.ts'
import type { PageCache } from './page-cache.ts'
import { recordAt } from './placeholders.ts'
import { type OpenDirectory, type Pin, type Places, pinOf, procPath } from './places.ts'
import type { Questions } from './questions.ts'
import type { Truncations } from './truncation.ts'

/** What the programs did, for `status`. */
export interface Counters {
  reads: number
  readBytes: number
  writes: number
}

/** What the operations share. */
export interface Parts {
  /** The store's directory of extent maps. */
  readonly extents: string
  readonly places: Places
  readonly hidden: HiddenNames
  readonly files: OpenFiles
  readonly marks: Marks
  readonly pages: PageCache
  readonly questions: Questions
  readonly hydration: Hydration
  readonly truncations: Truncations
  readonly counters: Counters
  readonly logger: Logger
  readonly clock: Clock
}

/**
 * Runs `act` with the file of a path, hidden or not; it stays open until the result is there.
 *
 * @param act gets the path, too, or undefined where it is no name in the tree
 */
export function reach<T>(
  { places, hidden }: Pick<Parts, 'places' | 'hidden'>,
  path: string,
  act: (pin: Pin, name: string | undefined) => T,
): T {
  const known = hidden.get(path)
  if (known === undefined && hidden.isHidden(path)) {
    // It was let go before this came: the kernel looks its path up again.
    throw new ModelcacheError('the name is gone', { code: 'ESTALE', errno: 'ESTALE' })
  }
  const pin = known === undefined ? places.pin(path) : pinOf(openSync(procPath(known.fd), O_PATH))
  let result: T
  try {
    result = act(pin, known === undefined ? path : undefined)
  } catch (error) {
    closeSync(pin.fd)
    throw error
  }
  if (result instanceof Promise) {
    return result.finally(() => closeSync(pin.fd)) as T
  }
  closeSync(pin.fd)
  return result
}

/**
 * Runs `act` with a directory whose names are all there: at once, or after it was listed. `act`
 * must be done with the directory when it returns.
 */
export function whenListed(
  parts: Pick<Parts, 'places' | 'hidden' | 'hydration'>,
  path: string,
  act: (directory: OpenDirectory) => number | Promise<number>,
): number | Promise<number> {
  const result = parts.places.inDirectory(path, (directory) =>
    recordAt(directory.at) === undefined ? act(directory) : undefined,
  )
  return result ?? list(parts, path).then(() => whenListed(parts, path, act))
}

/** Waits for the names of a directory. */
async function list(
  parts: Pick<Parts, 'places' | 'hidden' | 'hydration'>,
  path: string,
): Promise<void> {
  await reach(parts, path, async ({ at, fd, id }, name) => {
    const record = recordAt(at)
    if (record !== undefined) {
      await parts.hydration.list({ id, path: name, fd }, record)
    }
  })
}
