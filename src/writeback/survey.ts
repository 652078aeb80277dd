import { forEachConcurrently, messageOf } from '../base/index.ts'
import type { GetBlock } from '../dag/index.ts'
import {
  type ListedDirectory,
  type ListedEntry,
  printableName,
  type Snapshot,
} from '../mount/index.ts'
import type { Database, FileRow } from '../tree/index.ts'
import { keepsPromise } from './content-names.ts'
import type { NameRules } from './name-rules.ts'
import type { OrphanCollector } from './orphan-collector.ts'
import type { SettleOutcome, SettleRequest } from './outcome.ts'
import { childPath, type PlannedDirectory, type PlannedEntry, type TreePlan } from './plan.ts'
import { PreviousDirectory } from './previous-directory.ts'
import type { StampWatch } from './stamp-watch.ts'

/** Rows are read, and files settled, so many at a time within one directory. */
const ENTRIES_AT_ONCE = 16
/** Many directories hold one new file each: their waits for the disk overlap. */
const DIRECTORIES_AT_ONCE = 8

export interface SurveyParts {
  database: Pick<Database, 'files' | 'directories'>
  names: NameRules
  settler: { settle(request: SettleRequest): Promise<SettleOutcome>; watch: StampWatch }
  orphans: Pick<OrphanCollector, 'rooted'>
  getBlock: GetBlock
}

/**
 * Looks at everything that a snapshot lists and says what becomes of each name: settled files
 * with their CID, the rest carried from the previous root or absent. Files that are closed and
 * were not settled yet are settled now, if they are still what the listing showed.
 */
export async function surveyTree(
  parts: SurveyParts,
  snapshot: Snapshot,
  signal: AbortSignal | undefined,
): Promise<TreePlan> {
  const plan: TreePlan = {
    directories: [],
    excluded: [],
    absent: new Map(),
    open: [],
    withheld: [],
    lostNames: false,
  }
  await rememberSecrets(parts.names, snapshot)
  const listings = new Map<string, ListedDirectory>()
  for (const listing of snapshot.directories) {
    const path = includedPath(parts.names, listings, listing)
    if (path === undefined) {
      plan.excluded.push(listing.id)
    } else {
      listings.set(path, listing)
    }
  }
  const surveyed = new Map<string, PlannedDirectory>()
  await forEachConcurrently(listings, DIRECTORIES_AT_ONCE, async ([path, listing]) => {
    surveyed.set(path, await new DirectorySurvey(parts, plan, path, signal).run(listing))
  })
  for (const path of listings.keys()) {
    const directory = surveyed.get(path)
    if (directory !== undefined) {
      plan.directories.push(directory)
    }
  }
  return plan
}

/**
 * After a listing of the whole tree: a directory that is neither listed nor known cannot be read
 * (an ordinary user's, without permission). It keeps what the previous root had of it.
 */
export async function leaveUnlistedOpen(
  plan: TreePlan,
  parts: Pick<SurveyParts, 'database'>,
): Promise<void> {
  const listed = new Set(plan.directories.map(({ path }) => path))
  for (const directory of plan.directories) {
    for (const [name, entry] of directory.entries) {
      const path = childPath(directory.path, name)
      const isOpen =
        entry.kind === 'directory' &&
        entry.record === undefined &&
        !listed.has(path) &&
        (await parts.database.directories.get(entry.id)) === undefined
      if (!isOpen) {
        continue
      }
      plan.open.push({ path, reason: 'it cannot be listed' })
      const previous = (await directory.previous.entries()).get(name)
      if (previous === undefined) {
        directory.entries.set(name, { kind: 'absent' })
        plan.absent.set(path, 'open')
      } else {
        directory.entries.set(name, { kind: 'carried', previous })
      }
    }
  }
}

/** Before anything else: another name of the same inode may stand in an earlier directory. */
async function rememberSecrets(names: NameRules, { directories }: Snapshot): Promise<void> {
  for (const { path: directory, entries } of directories) {
    for (const { name, type, id } of entries) {
      if (type === 'f' && typeof directory === 'string' && typeof name === 'string') {
        if (names.reason(childPath(directory, name), type)?.secret) {
          await names.rememberSecret(id)
        }
      }
    }
  }
}

/** The path of a directory that belongs into the root, or undefined. Parents come first. */
function includedPath(
  names: NameRules,
  included: ReadonlyMap<string, unknown>,
  { path }: ListedDirectory,
): string | undefined {
  if (typeof path !== 'string' || path === '') {
    return typeof path === 'string' ? path : undefined
  }
  const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')))
  return included.has(parent) && names.reason(path, 'd') === undefined ? path : undefined
}

/** One directory of a snapshot. */
class DirectorySurvey {
  readonly #parts: SurveyParts
  readonly #plan: TreePlan
  readonly #path: string
  readonly #signal: AbortSignal | undefined
  readonly #entries = new Map<string, PlannedEntry>()
  #previous: PreviousDirectory

  constructor(parts: SurveyParts, plan: TreePlan, path: string, signal: AbortSignal | undefined) {
    this.#parts = parts
    this.#plan = plan
    this.#path = path
    this.#signal = signal
    this.#previous = new PreviousDirectory(undefined, parts.getBlock)
  }

  async run({ entries, ...listing }: ListedDirectory): Promise<PlannedDirectory> {
    const row = await this.#parts.database.directories.get(listing.id)
    this.#previous = new PreviousDirectory(row, this.#parts.getBlock)
    await forEachConcurrently(entries, ENTRIES_AT_ONCE, (entry) => this.#take(entry))
    return { path: this.#path, listing, previous: this.#previous, entries: this.#entries }
  }

  async #take(entry: ListedEntry): Promise<void> {
    const { name, type } = entry
    const path = childPath(this.#path, printableName(name))
    if (typeof name !== 'string') {
      this.#plan.absent.set(path, 'withheld')
      return
    }
    if (this.#parts.names.reason(path, type) !== undefined) {
      this.#plan.absent.set(path, 'withheld')
      return
    }
    switch (type) {
      case 'l':
        return this.#takeLink(name, path, entry)
      case 'd':
        return this.#takeDirectory(name, path, entry)
      case 'f':
        return this.#takeFile(name, path, entry)
      case 'o':
        // The classifier keeps these out already.
        this.#plan.absent.set(path, 'withheld')
    }
  }

  async #takeLink(name: string, path: string, { target, mode, stamp }: ListedEntry): Promise<void> {
    if (typeof target === 'string') {
      this.#entries.set(name, { kind: 'link', target, mode, mtimeNs: stamp.mtimeNs })
    } else {
      await this.#withhold(name, path, 'its target is no UTF-8, which UnixFS cannot carry')
    }
  }

  async #takeDirectory(name: string, path: string, entry: ListedEntry): Promise<void> {
    if (entry.damage !== undefined) {
      await this.#leaveOpen(name, path, `its record is damaged: ${entry.damage}`)
      return
    }
    const { id, mode, stamp, record } = entry
    this.#entries.set(name, { kind: 'directory', id, mode, mtimeNs: stamp.mtimeNs, record })
  }

  async #takeFile(name: string, path: string, entry: ListedEntry): Promise<void> {
    const { id, mode, stamp, record, damage } = entry
    if (damage !== undefined) {
      await this.#leaveOpen(name, path, `its record is damaged: ${damage}`)
      return
    }
    if (await this.#parts.names.isSecret(id)) {
      await this.#withhold(name, path, 'it once had the name of a secret')
      return
    }
    const { sizeBytes, mtimeNs } = stamp
    if (record !== undefined) {
      const { cid } = record
      this.#entries.set(name, {
        kind: 'file',
        cid,
        tsizeBytes: undefined,
        mode,
        mtimeNs,
        sizeBytes,
      })
      return
    }
    const row = await this.#rowOf(name, path, entry)
    if (row !== undefined) {
      const { cid, tsizeBytes } = row
      this.#parts.orphans.rooted(id)
      this.#entries.set(name, { kind: 'file', cid, tsizeBytes, mode, mtimeNs, sizeBytes })
    }
  }

  /** The row of the content that the listing shows; undefined after the name was left out. */
  async #rowOf(name: string, path: string, entry: ListedEntry): Promise<FileRow | undefined> {
    const { id, stamp } = entry
    const row = await this.#parts.database.files.get(id)
    if (row !== undefined && this.#parts.settler.watch.describes(id, row.stamp, stamp)) {
      if (keepsPromise(path, row) || (await this.#isInRoot(name, row))) {
        return row
      }
    }
    const outcome = await this.#settle(path, entry)
    switch (outcome.state) {
      case 'settled':
        if (keepsPromise(path, outcome.row)) {
          return outcome.row
        }
        await this.#withhold(name, path, 'its content does not hash to its name')
        return undefined
      case 'withheld':
        await this.#withhold(name, path, outcome.reason)
        return undefined
      default:
        await this.#leaveOpen(name, path, outcome.reason)
        return undefined
    }
  }

  /** A file that cannot be read costs its own name and not the commit. */
  async #settle(path: string, { id, stamp }: ListedEntry): Promise<SettleOutcome> {
    try {
      return await this.#parts.settler.settle({ path, id, listed: stamp, signal: this.#signal })
    } catch (error) {
      return { state: 'broken', reason: messageOf(error) }
    }
  }

  /** What came with a root under this name was vouched for there: it is not hashed for it again. */
  async #isInRoot(name: string, row: FileRow): Promise<boolean> {
    if (row.sha256 !== undefined || row.gitSha1 !== undefined) {
      return false
    }
    const previous = (await this.#previous.entries()).get(name)
    return previous?.cid.equals(row.cid) ?? false
  }

  async #leaveOpen(name: string, path: string, reason: string): Promise<void> {
    this.#plan.open.push({ path, reason })
    const previous = (await this.#previous.entries()).get(name)
    // A whole directory of the previous root is not carried: nothing keeps its files alive.
    if (previous !== undefined && previous.meta.type !== 'd') {
      this.#entries.set(name, { kind: 'carried', previous })
    } else {
      this.#entries.set(name, { kind: 'absent' })
      this.#plan.absent.set(path, 'open')
    }
  }

  async #withhold(name: string, path: string, reason: string): Promise<void> {
    this.#plan.withheld.push({ path, reason })
    this.#entries.set(name, { kind: 'absent' })
    this.#plan.absent.set(path, 'withheld')
    if ((await this.#previous.entries()).has(name)) {
      this.#plan.lostNames = true
    }
  }
}
