import type { Clock, Logger } from '../../base/index.ts'
import type { LocalTree } from '../local/local-tree.ts'
import { attributeOperations } from './attributes.ts'
import { OPERATION_NAMES } from './binding.ts'
import { dataOperations } from './data.ts'
import { HiddenNames } from './hidden-names.ts'
import { Hydration } from './hydration.ts'
import { listingOperations } from './listing.ts'
import { Marks } from './marks.ts'
import { nameOperations } from './names.ts'
import { OpenFiles } from './open-files.ts'
import { openingOperations } from './opening.ts'
import { PageCache } from './page-cache.ts'
import type { Parts } from './parts.ts'
import { Places } from './places.ts'
import { Questions } from './questions.ts'
import { renamingOperations } from './renaming.ts'
import type { Operation, Operations } from './session.ts'
import { PendingTimes } from './times.ts'
import { Truncations } from './truncation.ts'
import { xattrOperations } from './xattrs.ts'

export interface PartsOptions {
  tree: LocalTree
  fetchDeadlineMs: number
  logger: Logger
  clock: Clock
}

/** Everything that the operations on one tree share. */
export function createParts({ tree, fetchDeadlineMs, logger, clock }: PartsOptions): Parts {
  const places = new Places(tree.paths.tree)
  const marks = new Marks(tree)
  const files = new OpenFiles()
  const pages = new PageCache(marks, files)
  const truncations = new Truncations()
  const questions = new Questions(fetchDeadlineMs, clock, logger)
  const hydration = new Hydration({ questions, files, truncations, clock, logger })
  const hidden = new HiddenNames(clock, (key) => files.isOpen(key))
  const counters = { reads: 0, readBytes: 0, writes: 0 }
  const { extents } = tree.paths
  return {
    extents,
    places,
    hidden,
    files,
    marks,
    pages,
    questions,
    hydration,
    truncations,
    counters,
    logger,
    clock,
  }
}

/** Each operation, after the times that its thread was asked to set. */
export function allOperations(parts: Parts, tree: string): Operations {
  const times = new PendingTimes()
  const operations: Operations = {
    ...attributeOperations(parts, tree),
    ...openingOperations(parts),
    ...dataOperations(parts),
    ...nameOperations(parts),
    ...renamingOperations(parts),
    ...listingOperations(parts),
    ...xattrOperations(parts),
    utimens: (request) => times.note(request),
  }
  const guarded = OPERATION_NAMES.map((name) => [name, guard(parts, times, operations[name])])
  return { ...operations, ...Object.fromEntries(guarded) }
}

function guard(parts: Parts, times: PendingTimes, operation: Operation): Operation {
  return (request) => {
    times.set(parts, request)
    return operation(request)
  }
}
