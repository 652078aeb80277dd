import { type BigIntStats, closeSync, constants, fstatSync } from 'node:fs'
import { isErrno, O_PATH, openBeneath } from '../../base/index.ts'
import { inodeIdOf, sameInode } from '../../tree/index.ts'
import type { ListedDirectory, ListedEntry } from '../engine.ts'
import type { WireName } from '../wire.ts'
import type { Marks } from './changed-directories.ts'
import { type Listing, listDirectory, wirePath } from './directory-listing.ts'

/** A piece of work that can be done at once or in turns with others. */
export type Steps<T = void> = Generator<void, T>

/** Two changes of a directory within so many ns can leave the same ctime (see leased-content.ts). */
const CLOCK_GRAIN_NS = 20_000_000n

/** One directory of the tree, and what was seen of it. */
interface Place {
  path: WireName
  /** Undefined where it could not be listed. */
  directory: ListedDirectory | undefined
  /** From right before it was listed. */
  stats: BigIntStats | undefined
  /** So soon after a change that the next one might not show in its times. */
  young: boolean
  /** Its directories that are listed, by name. */
  below: Map<string, Place>
}

export interface WalkParts {
  /** The tree, opened as a directory; O_PATH will do. */
  rootFd: number
  isSettled(ino: bigint): boolean
  /** Each name that was seen, perhaps more than once. */
  seen(entry: ListedEntry): void
  /** A directory that could not be listed though it is there. */
  unreadable(path: WireName, reason: string): void
  nowNs(): bigint
}

const GONE = ['ENOENT', 'ENOTDIR', 'ELOOP']

/** Lists directories beneath the tree's root; no link is followed. */
export class TreeWalk {
  readonly #parts: WalkParts
  readonly #marks: Marks
  #root: Place | undefined

  constructor(parts: WalkParts, marks: Marks) {
    this.#parts = parts
    this.#marks = marks
  }

  /** The marked directories and, so that the daemon can build on them, all above them. */
  *changed(): Steps<ListedDirectory[]> {
    const wanted = new Set<string>()
    for (const marked of this.#marks.keys()) {
      for (let path = marked; !wanted.has(path); path = parentPath(path)) {
        wanted.add(path)
      }
    }
    const directories: ListedDirectory[] = []
    const listed = new Set<string>()
    // A directory sorts before what is in it.
    for (const path of [...wanted].sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1))) {
      // Without its parent nobody could place it.
      if (path === '' || listed.has(parentPath(path))) {
        const listing = yield* this.#list(path)
        if (listing?.kind === 'listed') {
          listed.add(path)
          directories.push(listing.directory)
        }
      }
    }
    return directories
  }

  /** Every listed directory, each at a moment of its own. `directories` gives them. */
  *everything(): Steps {
    this.#root = newPlace('')
    yield* this.#fill([this.#root])
  }

  /**
   * Looks again at every directory. If none of them changed between its listing and this look,
   * then all listings are true of one moment: the one before this began.
   *
   * @returns the places that have to be listed again
   */
  *moved(): Steps<Place[]> {
    const moved: Place[] = []
    for (const place of this.#places()) {
      if (place.young || !this.#isUnchanged(place)) {
        moved.push(place)
      }
      yield
    }
    return moved
  }

  /** Lists places again, and what is new in them. */
  *listAgain(places: readonly Place[]): Steps {
    yield* this.#fill(places)
  }

  /** Directories that hold targets of links but not by that name: it came after their listing. */
  targetsOfLinks(): Place[] {
    const byPath = new Map<WireName, Place>()
    for (const place of this.#places()) {
      byPath.set(place.path, place)
    }
    const found = new Set<Place>()
    for (const place of byPath.values()) {
      for (const { type, target } of place.directory?.entries ?? []) {
        if (type === 'l' && typeof target === 'string' && typeof place.path === 'string') {
          const [directory, name] = resolved(place.path, target) ?? []
          const holder = directory === undefined ? undefined : byPath.get(directory)
          if (holder !== undefined && !hasName(holder, name)) {
            found.add(holder)
          }
        }
      }
    }
    return [...found]
  }

  /** What was listed, parents first. */
  directories(): ListedDirectory[] {
    return [...this.#places()].flatMap(({ directory }) => (directory ? [directory] : []))
  }

  /** Lists these, and below them what is not known yet. */
  *#fill(places: readonly Place[]): Steps {
    const open = [...places]
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const nowNs = this.#parts.nowNs()
      take(place, yield* this.#list(place.path), nowNs)
      for (const fresh of reconcile(place)) {
        open.push(fresh)
      }
      yield
    }
  }

  *#list(path: WireName): Steps<Listing | undefined> {
    const fd = this.#open(path)
    if (fd === undefined) {
      return undefined
    }
    let listing: Listing
    try {
      const explicit = typeof path === 'string' && this.#marks.get(path) === true
      listing = yield* listDirectory({ fd, path, explicit }, this.#parts.isSettled)
    } finally {
      closeSync(fd)
    }
    if (listing.kind === 'unreadable') {
      this.#parts.unreadable(path, listing.reason)
    } else if (listing.kind === 'listed') {
      for (const entry of listing.directory.entries) {
        this.#parts.seen(entry)
      }
    }
    return listing
  }

  /** Undefined where there is no such directory any more. */
  #open(path: WireName): number | undefined {
    try {
      return openBeneath(this.#parts.rootFd, path, O_PATH | constants.O_DIRECTORY)
    } catch (error) {
      if (isErrno(error, ...GONE)) {
        return undefined
      }
      throw error
    }
  }

  #isUnchanged({ path, stats }: Place): boolean {
    const fd = this.#open(path)
    if (fd === undefined || stats === undefined) {
      if (fd !== undefined) {
        closeSync(fd)
      }
      // What could not be listed before will not be now; what came back shows in its parent.
      return stats === undefined
    }
    try {
      const now = fstatSync(fd, { bigint: true })
      return (
        sameInode(inodeIdOf(now), inodeIdOf(stats)) &&
        now.ctimeNs === stats.ctimeNs &&
        now.mtimeNs === stats.mtimeNs
      )
    } finally {
      closeSync(fd)
    }
  }

  *#places(): Generator<Place> {
    const open = this.#root === undefined ? [] : [this.#root]
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      yield place
      for (const below of [...place.below.values()].reverse()) {
        open.push(below)
      }
    }
  }
}

function newPlace(path: WireName): Place {
  return { path, directory: undefined, stats: undefined, young: false, below: new Map() }
}

function take(place: Place, listing: Listing | undefined, nowNs: bigint): void {
  place.directory = undefined
  place.stats = undefined
  place.young = false
  if (listing?.kind === 'listed') {
    place.directory = listing.directory
    place.stats = listing.stats
    const ageNs = nowNs - listing.stats.ctimeNs
    // A time in the future, of a clock that was put back, says nothing and would be young for ever.
    place.young = ageNs >= 0n && ageNs < CLOCK_GRAIN_NS
  }
}

/** Makes what is below a place agree with its listing; returns what was not there before. */
function reconcile(place: Place): Place[] {
  const before = place.below
  const fresh: Place[] = []
  place.below = new Map()
  for (const { type, name, id, record, damage } of place.directory?.entries ?? []) {
    if (type !== 'd' || record !== undefined || damage !== undefined) {
      continue
    }
    const key = typeof name === 'string' ? name : `\0${Buffer.from(name).toString('latin1')}`
    const known = before.get(key)
    if (known?.directory !== undefined && sameInode(known.directory.id, id)) {
      place.below.set(key, known)
    } else {
      const found = newPlace(wirePath(place.path, name))
      place.below.set(key, found)
      fresh.push(found)
    }
  }
  return fresh
}

function hasName({ directory }: Place, name: string | undefined): boolean {
  return directory?.entries.some((entry) => entry.name === name) ?? false
}

/** Directory and name of what a relative link leads to, by its text; undefined outside the tree. */
function resolved(from: string, target: string): [directory: string, name: string] | undefined {
  if (target.startsWith('/')) {
    return undefined
  }
  const parts = from === '' ? [] : from.split('/')
  for (const part of target.split('/')) {
    if (part === '..' && parts.pop() === undefined) {
      return undefined
    }
    if (part !== '' && part !== '.' && part !== '..') {
      parts.push(part)
    }
  }
  const name = parts.pop()
  return name === undefined ? undefined : [parts.join('/'), name]
}

/** The root is its own parent. */
function parentPath(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** `/` sorts before every other character, so that what is in a directory follows it directly. */
function sortKey(path: string): string {
  return path.replaceAll('/', '\0')
}
