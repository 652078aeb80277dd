import { randomBytes } from 'node:crypto'
import { close, fchmodSync, fstatSync, fsync, ftruncateSync } from 'node:fs'
import { chmod, mkdir, rmdir, symlink, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  forEachConcurrently,
  fremovexattr,
  fsetxattr,
  fsyncDirectory,
  futimensNs,
  isErrno,
  linkFd,
  lremovexattr,
  lsetxattr,
  ModelcacheError,
  openTmpfile,
  reached,
  renameNoReplace,
  syncfs,
  utimensatNs,
} from '../base/index.ts'
import { type Stamp, stampOf } from './inode.ts'
import { checkName } from './names.ts'
import { encodeRecord, type PlaceholderRecord, RECORD_XATTR, readRecord } from './record.ts'

/** A name to be made in a directory that is being listed. */
export type PlaceholderEntry =
  | { type: 'f'; name: string; record: PlaceholderRecord }
  | { type: 'd'; name: string; record: PlaceholderRecord }
  | { type: 'l'; name: string; target: string; mtimeNs: bigint }

/** What became of the entries. */
export interface CreatedPlaceholders {
  created: number
  /** Names that existed already and were left as they are. */
  kept: string[]
}

export interface CreateOptions {
  /** `StorePaths.staging`: on the same file system, emptied at start. */
  staging: string
  signal?: AbortSignal | undefined
}

type FileEntry = Extract<PlaceholderEntry, { type: 'f' }>
type DirectoryEntry = Extract<PlaceholderEntry, { type: 'd' }>
type LinkEntry = Extract<PlaceholderEntry, { type: 'l' }>

/** Descriptors open at a time; well below the usual limit of 1024. */
const BATCH = 256
/** From so many on one syncfs is cheaper than an fsync each, though it takes others' data along. */
const SYNCFS_FROM = 32
const FSYNC_CONCURRENCY = 8
/** The owner must be able to write a placeholder, whatever mode it will have. */
const OWNER_FILE_MODE = 0o600
const OWNER_DIRECTORY_MODE = 0o700
const PERMISSION_BITS = 0o777

const closeFd = promisify(close)
const fsyncFd = promisify(fsync)

/**
 * Creates the entries of a directory that is being listed; the names and what they stand for are
 * durable when it returns. A file has its record before it has its name, so that no reader ever
 * takes its holes for content. Idempotent by name: what is there stays. The times of the directory
 * itself move; `clearUnlisted` sets them.
 *
 * @throws ModelcacheError `bad-name` before anything was made; `no-xattr` where the file system
 *   has no extended attributes; else the system's error, with some of the names made
 */
export async function createPlaceholders(
  parentDir: string,
  entries: readonly PlaceholderEntry[],
  options: CreateOptions,
): Promise<CreatedPlaceholders> {
  for (const entry of entries) {
    checkName(entry.name)
  }
  const kept: string[] = []
  const files = entries.filter((entry) => entry.type === 'f')
  const directories = entries.filter((entry) => entry.type === 'd')
  for (let start = 0; start < files.length; start += BATCH) {
    options.signal?.throwIfAborted()
    kept.push(...(await createFiles(parentDir, files.slice(start, start + BATCH))))
  }
  for (let start = 0; start < directories.length; start += BATCH) {
    options.signal?.throwIfAborted()
    const batch = directories.slice(start, start + BATCH)
    kept.push(...(await createDirectories(parentDir, batch, options.staging)))
  }
  for (const entry of entries.filter((one) => one.type === 'l')) {
    if (!(await createSymlink(parentDir, entry, options.staging))) {
      kept.push(entry.name)
    }
  }
  await fsyncDirectory(parentDir)
  return { created: entries.length - kept.length, kept }
}

/** Files of one batch: made without a name, made durable together, then linked. */
async function createFiles(parentDir: string, entries: FileEntry[]): Promise<string[]> {
  const open: { name: string; fd: number }[] = []
  try {
    for (const { name, record } of entries) {
      const fd = openTmpfile(parentDir, OWNER_FILE_MODE)
      open.push({ name, fd })
      prepareFile(fd, record)
    }
    await makeDurable(open.map((file) => file.fd))
    return open.filter((file) => !tryLink(file.fd, join(parentDir, file.name))).map((f) => f.name)
  } finally {
    await Promise.all(open.map((file) => closeFd(file.fd)))
  }
}

function prepareFile(fd: number, record: PlaceholderRecord): void {
  ftruncateSync(fd, record.sizeBytes)
  fchmodSync(fd, (record.mode & PERMISSION_BITS) | OWNER_FILE_MODE)
  withXattrs(() => fsetxattr(fd, RECORD_XATTR, encodeRecord(record)))
  futimensNs(fd, record.mtimeNs)
}

async function makeDurable(fds: number[]): Promise<void> {
  const first = fds[0]
  if (first !== undefined && fds.length >= SYNCFS_FROM) {
    await syncfs(first)
  } else {
    await forEachConcurrently(fds, FSYNC_CONCURRENCY, (fd) => fsyncFd(fd))
  }
}

/** False where the name is taken. */
function tryLink(fd: number, path: string): boolean {
  try {
    linkFd(fd, path)
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST')) {
      return false
    }
    throw error
  }
}

async function createDirectories(
  parentDir: string,
  entries: DirectoryEntry[],
  staging: string,
): Promise<string[]> {
  const staged: { name: string; path: string }[] = []
  const kept: string[] = []
  for (const { name, record } of entries) {
    const path = stagedName(staging)
    await mkdir(path, OWNER_DIRECTORY_MODE)
    staged.push({ name, path })
    await chmod(path, (record.mode & PERMISSION_BITS) | OWNER_DIRECTORY_MODE)
    withXattrs(() => lsetxattr(path, RECORD_XATTR, encodeRecord(record)))
  }
  await forEachConcurrently(staged, FSYNC_CONCURRENCY, ({ path }) => fsyncDirectory(path))
  for (const { name, path } of staged) {
    if (!tryMove(path, join(parentDir, name))) {
      await rmdir(path)
      kept.push(name)
    }
  }
  return kept
}

/** False where the name is taken. Staged, so that a link never shows with the time of today. */
async function createSymlink(
  parentDir: string,
  entry: LinkEntry,
  staging: string,
): Promise<boolean> {
  const path = stagedName(staging)
  await symlink(entry.target, path)
  utimensatNs(path, entry.mtimeNs)
  if (tryMove(path, join(parentDir, entry.name))) {
    return true
  }
  await unlink(path)
  return false
}

function tryMove(from: string, to: string): boolean {
  try {
    renameNoReplace(from, to)
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST')) {
      return false
    }
    throw error
  }
}

/**
 * The directory is listed: it gets mode and mtime of its record and loses the record, durably.
 * The entries must be durable before. Without a record only durability is left to do.
 */
export async function clearUnlisted(dir: string): Promise<void> {
  const record = readRecord(dir)
  if (record !== undefined) {
    // The order matters where the new mode forbids the owner to write.
    utimensatNs(dir, record.mtimeNs)
    lremovexattr(dir, RECORD_XATTR)
    await chmod(dir, record.mode)
  }
  await fsyncDirectory(dir)
}

/**
 * Makes a directory one that is not listed yet: with this record its entries come from the DAG.
 * Durable. Meant for the root of a new tree; the directory must be empty.
 */
export async function markUnlisted(dir: string, record: PlaceholderRecord): Promise<void> {
  withXattrs(() => lsetxattr(dir, RECORD_XATTR, encodeRecord(record)))
  await fsyncDirectory(dir)
}

/**
 * The last byte is there: the file becomes complete. Data first, then mode and mtime of the
 * record, then the record goes, each durable before the next can be.
 *
 * @param fd open for writing
 * @returns the stamp of the complete file
 * @throws ModelcacheError `size` where the file has not the size of its record
 */
export async function completePlaceholder(fd: number, record: PlaceholderRecord): Promise<Stamp> {
  const { size } = fstatSync(fd)
  if (size !== record.sizeBytes) {
    throw new ModelcacheError(`complete ${record.cid}: ${size} bytes, not ${record.sizeBytes}`, {
      code: 'size',
      errno: 'EIO',
    })
  }
  await fsyncFd(fd)
  reached('complete.synced')
  fchmodSync(fd, record.mode)
  futimensNs(fd, record.mtimeNs)
  fremovexattr(fd, RECORD_XATTR)
  await fsyncFd(fd)
  reached('complete.cleared')
  return stampOf(fstatSync(fd, { bigint: true }))
}

function stagedName(staging: string): string {
  return join(staging, randomBytes(8).toString('hex'))
}

function withXattrs(set: () => void): void {
  try {
    set()
  } catch (cause) {
    if (isErrno(cause, 'ENOTSUP', 'EOPNOTSUPP')) {
      throw new ModelcacheError(
        'make a placeholder: the file system of the store has no extended attributes; ' +
          'put the store on ext4, XFS or btrfs',
        { code: 'no-xattr', errno: 'EOPNOTSUPP', exitCode: 5, cause },
      )
    }
    throw cause
  }
}
