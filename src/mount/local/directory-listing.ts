import { isUtf8 } from 'node:buffer'
import { type BigIntStats, fstatSync, lstatSync, readdirSync, readlinkSync } from 'node:fs'
import { getxattr, getxattrFollowed, isErrno, messageOf } from '../../base/index.ts'
import { decodeRecord, inodeIdOf, RECORD_XATTR, stampOf } from '../../tree/index.ts'
import type { ListedDirectory, ListedEntry } from '../engine.ts'
import type { WireName } from '../wire.ts'

const MODE_BITS = 0o7777n
/** Entries that are looked at before others may have their turn. */
const ENTRIES_PER_STEP = 256

/** A directory in which things have names, and what is known before it is listed. */
export interface OpenDirectory {
  /** May be an O_PATH one. */
  fd: number
  path: WireName
  explicit: boolean
}

/** `unlisted`: it occurs only as an entry of its parent; `unreadable`: so does what is in it. */
export type Listing =
  | { kind: 'listed'; directory: ListedDirectory; stats: BigIntStats }
  | { kind: 'unlisted' }
  | { kind: 'unreadable'; reason: string }

/** Without them every directory would look broken: the whole snapshot fails, and is tried again. */
const EXHAUSTED = ['EMFILE', 'ENFILE', 'ENOMEM']

/**
 * Lists one directory with everything that a commit wants to know of its names, sorted by their
 * bytes. A step of the generator is a bounded number of them. What vanishes meanwhile is left out;
 * any other trouble with one name leaves out the listing, as half a listing would be taken for a
 * removal of the rest.
 *
 * @param isSettled true for inodes that are known to be no placeholders
 * @throws what stands in the way of every directory (too many open files)
 */
export function* listDirectory(
  { fd, path, explicit }: OpenDirectory,
  isSettled: (ino: bigint) => boolean,
): Generator<void, Listing> {
  try {
    const place = `/proc/self/fd/${fd}`
    const stats = fstatSync(fd, { bigint: true })
    if (rawRecord(() => getxattrFollowed(place, RECORD_XATTR)) !== undefined) {
      return { kind: 'unlisted' }
    }
    const entries: ListedEntry[] = []
    const names = readdirSync(place, { encoding: 'buffer' })
    for (const [index, name] of names.sort(Buffer.compare).entries()) {
      const entry = entryOf(place, name, stats.dev, isSettled)
      if (entry !== undefined) {
        entries.push(entry)
      }
      if (index % ENTRIES_PER_STEP === ENTRIES_PER_STEP - 1) {
        yield
      }
    }
    const directory = {
      path,
      id: inodeIdOf(stats),
      mode: Number(stats.mode & MODE_BITS),
      mtimeNs: stats.mtimeNs,
      explicit,
      entries,
    }
    return { kind: 'listed', directory, stats }
  } catch (error) {
    if (isErrno(error, ...EXHAUSTED)) {
      throw error
    }
    return { kind: 'unreadable', reason: messageOf(error) }
  }
}

/** A name or path as the rest of the program has it. */
export function wireName(bytes: Uint8Array): WireName {
  return isUtf8(bytes) ? Buffer.from(bytes).toString() : new Uint8Array(bytes)
}

/** The path of a name in a directory. */
export function wirePath(directory: WireName, name: WireName): WireName {
  if (directory.length === 0) {
    return name
  }
  if (typeof directory === 'string' && typeof name === 'string') {
    return `${directory}/${name}`
  }
  return new Uint8Array(
    Buffer.concat([Buffer.from(directory), Buffer.from('/'), Buffer.from(name)]),
  )
}

/** Undefined for a name that is gone. */
function entryOf(
  place: string,
  name: Buffer,
  dev: bigint,
  isSettled: (ino: bigint) => boolean,
): ListedEntry | undefined {
  const path = Buffer.concat([Buffer.from(`${place}/`), name])
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  if (stats === undefined) {
    return undefined
  }
  if (stats.dev !== dev) {
    throw new Error(`${shownName(name)} is of another file system`)
  }
  const entry: ListedEntry = {
    name: wireName(name),
    type: typeOf(stats),
    id: inodeIdOf(stats),
    mode: Number(stats.mode & MODE_BITS),
    stamp: stampOf(stats),
  }
  try {
    if (entry.type === 'l') {
      entry.target = wireName(readlinkSync(path, { encoding: 'buffer' }))
    } else if (entry.type === 'd' || (entry.type === 'f' && !isSettled(stats.ino))) {
      takeRecord(entry, path)
    }
    return entry
  } catch (error) {
    // Removed since; a link whose name has something else now is EINVAL.
    if (isErrno(error, 'ENOENT', 'EINVAL')) {
      return undefined
    }
    throw error
  }
}

/** While there is a record, mode and mtime are the record's, and of a file its size. */
function takeRecord(entry: ListedEntry, path: Buffer): void {
  const bytes = rawRecord(() => getxattr(path, RECORD_XATTR))
  if (bytes === undefined) {
    return
  }
  try {
    const record = decodeRecord(bytes)
    const { mode, mtimeNs } = record
    const sizeBytes = record.kind === 'file' ? record.sizeBytes : entry.stamp.sizeBytes
    entry.record = record
    entry.mode = mode
    entry.stamp = { ...entry.stamp, mtimeNs, sizeBytes }
  } catch (error) {
    // A damaged attribute costs one name of a commit.
    entry.damage = messageOf(error)
  }
}

function rawRecord(read: () => Uint8Array | undefined): Uint8Array | undefined {
  try {
    return read()
  } catch (error) {
    // A file system without attributes has no placeholders; what an ordinary user may not read
    // (no u+r) is none, since those always have it.
    if (isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EACCES')) {
      return undefined
    }
    throw error
  }
}

function typeOf(stats: BigIntStats): ListedEntry['type'] {
  if (stats.isFile()) {
    return 'f'
  }
  if (stats.isDirectory()) {
    return 'd'
  }
  return stats.isSymbolicLink() ? 'l' : 'o'
}

function shownName(name: Buffer): string {
  return JSON.stringify(name.toString())
}
