/** What is done with an open file: read, write, fsync, truncate. */
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { ModelcacheError } from '../../base/index.ts'
import type { Filling } from './filling.ts'
import type { OpenFile } from './open-files.ts'
import { type Parts, reach } from './parts.ts'
import { recordAt } from './placeholders.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'
import { truncatePlaceholder } from './truncation.ts'

const fsyncFd = promisify(fsync)
const fdatasyncFd = promisify(fdatasync)

type DataOperations = Pick<Operations, 'read' | 'write' | 'fsync' | 'truncate' | 'ftruncate'>

export function dataOperations(parts: Parts): DataOperations {
  return {
    read: (request) => read(parts, request),
    write: (request) => write(parts, request),
    fsync: async ({ handle, dataOnly }) => {
      const { fd } = parts.files.get(handle)
      // Without this thread, which the disk would stop for everybody.
      await (dataOnly ? fdatasyncFd(fd) : fsyncFd(fd))
      return 0
    },
    truncate: ({ path, offset }) => truncate(parts, path, offset),
    ftruncate: ({ path, handle, offset }) => {
      const file = parts.files.get(handle)
      return file.writable ? ftruncate(parts, path, file, offset) : truncate(parts, path, offset)
    },
  }
}

function read(parts: Parts, request: Request): number | Promise<number> {
  const { offset, length, payload } = request
  const file = parts.files.get(request.handle)
  const { filling } = file
  const range = { start: offset, end: offset + length }
  if (filling === undefined || filling.isComplete) {
    return readNow(parts, file, payload, offset)
  }
  const missing = { start: offset, end: Math.min(range.end, filling.sizeBytes) }
  if (filling.covers(missing)) {
    return readFilling(parts, file, filling, request)
  }
  return fetchAndRead(parts, file, filling, request)
}

async function fetchAndRead(
  parts: Parts,
  file: OpenFile,
  filling: Filling,
  request: Request,
): Promise<number> {
  const { path, offset, length } = request
  const { id, fd } = file
  const name = parts.hidden.get(path) === undefined ? path : undefined
  const end = Math.min(offset + length, filling.sizeBytes)
  if (offset < end) {
    await parts.hydration.present({ id, path: name, fd }, filling, { start: offset, end })
  }
  return readFilling(parts, file, filling, request)
}

/** A placeholder's file that ends before its size: the kernel would make zeros of the rest. */
function readFilling(
  parts: Parts,
  file: OpenFile,
  filling: Filling,
  request: Request,
): number | Promise<number> {
  const { offset, length, payload } = request
  const count = readNow(parts, file, payload, offset)
  const end = Math.min(filling.sizeBytes, offset + length)
  if (filling.isComplete || offset + count >= end) {
    return count
  }
  if (parts.truncations.isRunning(file.id)) {
    // It is being cut at this moment: again when that is done.
    return parts.truncations.ended(file.id).then(() => read(parts, request))
  }
  throw new ModelcacheError(`read ${request.path}: the file is shorter than its record`, {
    code: 'short-placeholder',
    errno: 'EIO',
  })
}

/** Fills the buffer, or ends at the end of the file: the kernel takes less for the end. */
function readNow({ counters }: Parts, { fd }: OpenFile, into: Buffer, offset: number): number {
  let count = 0
  while (count < into.length) {
    const more = readSync(fd, into, count, into.length - count, offset + count)
    if (more === 0) {
      break
    }
    count += more
  }
  counters.reads += 1
  counters.readBytes += count
  return count
}

function write({ files, counters }: Parts, request: Request): number | Promise<number> {
  const file = files.get(request.handle)
  const { payload } = request
  counters.writes += 1
  // Another name of the file is another file to the kernel, so it may not know the true end.
  const atEnd = file.append && !request.isPageWrite
  const offset = atEnd ? Number(fstatSync(file.fd, { bigint: true }).size) : request.offset
  const count = writeNow(file, payload, offset)
  return file.synchronous === 'none' ? count : written(file, count)
}

function writeNow({ fd }: OpenFile, bytes: Buffer, offset: number): number {
  let count = 0
  while (count < bytes.length) {
    try {
      count += writeSync(fd, bytes, count, bytes.length - count, offset + count)
    } catch (error) {
      // What was written counts; the error comes with the next write.
      if (count > 0) {
        break
      }
      throw error
    }
  }
  return count
}

/**
 * The bytes are in the file when this is called, so that the next writer sees its true end. The disk
 * is waited for without this thread, which it would stop for everybody.
 */
async function written({ fd, synchronous }: OpenFile, count: number): Promise<number> {
  await (synchronous === 'data' ? fdatasyncFd(fd) : fsyncFd(fd))
  return count
}

function ftruncate(parts: Parts, path: string, file: OpenFile, sizeBytes: number): number {
  const { fd } = file
  const name = parts.hidden.get(path) === undefined ? path : undefined
  parts.marks.willWrite(fstatSync(fd, { bigint: true }), name)
  ftruncateSync(fd, sizeBytes)
  return 0
}

function truncate(parts: Parts, path: string, sizeBytes: number): number | Promise<number> {
  return reach(parts, path, (pin, name) => {
    if (!pin.stats.isFile()) {
      const errno = pin.stats.isDirectory() ? 'EISDIR' : 'EINVAL'
      throw new ModelcacheError(`truncate ${path}`, { code: errno, errno })
    }
    const now = () => {
      parts.marks.willWrite(fstatSync(pin.fd, { bigint: true }), name)
      const fd = openSync(pin.at, constants.O_WRONLY)
      try {
        ftruncateSync(fd, sizeBytes)
      } finally {
        closeSync(fd)
      }
      return 0
    }
    const { id, fd } = pin
    return recordAt(pin.at) === undefined
      ? now()
      : truncatePlaceholder(parts, { id, path: name, fd }, sizeBytes).then(now)
  })
}
