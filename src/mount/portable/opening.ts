/** open, create, release. */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync } from 'node:fs'
import { isErrno, ModelcacheError, openAt } from '../../base/index.ts'
import { inodeIdOf } from '../../tree/index.ts'
import { Filling } from './filling.ts'
import { nameOf, parentOf, toNative } from './native-path.ts'
import type { OpenFile } from './open-files.ts'
import { type Parts, reach, whenListed } from './parts.ts'
import { recordAt } from './placeholders.ts'
import { type Pin, pinOf } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'
import { truncatePlaceholder } from './truncation.ts'

/** A placeholder can become one file or the other while we wait for it; more often is a bug. */
const MAX_ROUNDS = 4
const ACCESS_MODE = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR
/**
 * The flags that our own descriptor keeps are those of the access mode. O_APPEND and O_SYNC: see
 * data.ts; O_DIRECT: requests come with any alignment; the rest was dealt with when the name was
 * resolved.
 */
const PERMISSIONS = 0o7777
/** What the umask of this process takes from a mode. */
const FOR_OTHERS = 0o077

type OpeningOperations = Pick<Operations, 'open' | 'create' | 'release'>

export function openingOperations(parts: Parts): OpeningOperations {
  return {
    open: (request) => open(parts, request, 0),
    create: (request) => create(parts, request),
    release: ({ path, handle }) => release(parts, path, handle),
  }
}

/** A placeholder is completed first for a writer, and cut for O_TRUNC. */
function open(parts: Parts, request: Request, round: number): number | Promise<number> {
  const { path, openFlags: flags } = request
  return reach(parts, path, (pin, name) => {
    if (!pin.stats.isFile()) {
      throw refusal(pin.stats.isDirectory() ? 'EISDIR' : 'EINVAL', `open ${path}`)
    }
    const record = recordAt(pin.at)
    const truncates = (flags & constants.O_TRUNC) !== 0
    if (record === undefined || !(truncates || isWriter(flags))) {
      return openNow(parts, request, pin, name, record?.sizeBytes)
    }
    if (round === MAX_ROUNDS) {
      throw refusal('EIO', `open ${path}: still a placeholder after ${round} attempts`)
    }
    const asked = { id: pin.id, path: name, fd: pin.fd }
    const ready = truncates
      ? truncatePlaceholder(parts, asked, 0)
      : parts.hydration.complete(asked, record)
    return ready.then(() => open(parts, request, round + 1))
  })
}

function openNow(
  parts: Parts,
  request: Request,
  { at, stats, id, key }: Pin,
  name: string | undefined,
  placeholderBytes: number | undefined,
): number {
  const { openFlags: flags } = request
  const truncates = (flags & constants.O_TRUNC) !== 0
  if (truncates || isWriter(flags)) {
    parts.marks.willWrite(stats, name)
  }
  const fd = openSync(at, flags & ACCESS_MODE)
  try {
    if (truncates) {
      empty(at, fd, isWriter(flags))
    }
    const filling =
      placeholderBytes === undefined
        ? undefined
        : (parts.files.filling(key) ??
          new Filling(id, placeholderBytes, parts.extents, parts.clock))
    request.putCaching(parts.pages.opened(name, fstatSync(fd, { bigint: true }), isWriter(flags)))
    return add(parts, fd, flags, filling, name)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** O_TRUNC works without the right to write through the descriptor, too. */
function empty(at: string, fd: number, isWriter: boolean): void {
  if (isWriter) {
    ftruncateSync(fd, 0)
    return
  }
  const writable = openSync(at, constants.O_WRONLY)
  try {
    ftruncateSync(writable, 0)
  } finally {
    closeSync(writable)
  }
}

/** The kernel has seen that there is no such name, and keeps others from making it. */
function create(parts: Parts, request: Request): number | Promise<number> {
  const { path, openFlags: flags } = request
  const mode = request.mode & PERMISSIONS
  return whenListed(parts, parentOf(path), (directory) => {
    let fd: number
    try {
      const how = (flags & ACCESS_MODE) | constants.O_CREAT | constants.O_EXCL
      fd = openAt(directory.fd, toNative(nameOf(path)), how, mode)
    } catch (error) {
      if (isErrno(error, 'EEXIST') && (flags & constants.O_EXCL) === 0) {
        return openExisting(parts, request)
      }
      throw error
    }
    try {
      // The kernel has applied the program's umask, the system has applied ours.
      if ((mode & FOR_OTHERS) !== 0) {
        fchmodSync(fd, mode)
      }
      const stats = fstatSync(fd, { bigint: true })
      parts.marks.created(inodeIdOf(stats), path)
      request.putCaching(parts.pages.opened(path, stats, isWriter(flags)))
      return add(parts, fd, flags, undefined, path)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  })
}

/** The name came into being since the kernel looked: open(2) without O_EXCL opens it. */
function openExisting(parts: Parts, request: Request): number | Promise<number> {
  const { path } = request
  const stats = parts.places.find(path)
  if (stats?.isFile() !== true) {
    // The kernel looks the name up again, and follows a link, or refuses the directory.
    throw refusal('ESTALE', `create ${path}`)
  }
  return open(parts, request, 0)
}

function add(
  parts: Parts,
  fd: number,
  flags: number,
  filling: Filling | undefined,
  path: string | undefined,
): number {
  const { id, key } = pinOf(fd)
  const file = {
    id,
    key,
    fd,
    filling,
    writable: isWriter(flags),
    append: (flags & constants.O_APPEND) !== 0,
    synchronous: synchronyOf(flags),
  } as const
  return parts.files.add(file, path)
}

function release({ files, hidden, marks }: Parts, path: string, handle: number): number {
  const file = files.get(handle)
  const stats = file.writable ? fstatSync(file.fd, { bigint: true }) : undefined
  const name = hidden.get(path) === undefined ? path : undefined
  const { last, lastWriter } = files.remove(file)
  if (stats !== undefined && lastWriter && marks.links(stats) > 0) {
    // What was written since the file was opened is not in a listing that was taken meanwhile.
    marks.changedEntry(stats, name)
    if (name !== undefined) {
      marks.final(file.id, name, 'writer')
    }
  }
  if (last) {
    hidden.closed(file.key)
  }
  return 0
}

function isWriter(flags: number): boolean {
  return (flags & ACCESS_MODE) !== constants.O_RDONLY
}

/** O_SYNC has the bit of O_DSYNC and another one. */
function synchronyOf(flags: number): OpenFile['synchronous'] {
  if ((flags & constants.O_SYNC) === constants.O_SYNC) {
    return 'all'
  }
  return (flags & constants.O_DSYNC) === 0 ? 'none' : 'data'
}

function refusal(errno: string, message: string): ModelcacheError {
  return new ModelcacheError(message, { code: errno, errno })
}
