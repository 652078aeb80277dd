/** readdir, fsyncdir. */
import { closeSync, constants, fdatasync, fstatSync, fsync } from 'node:fs'
import { promisify } from 'node:util'
import { compareBytes, directoryEntries } from '../../base/index.ts'
import { fromBytes, parentOf } from './native-path.ts'
import { type Parts, whenListed } from './parts.ts'
import type { Places } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'

const fsyncFd = promisify(fsync)
const fdatasyncFd = promisify(fdatasync)
const FOR_LISTING = constants.O_RDONLY | constants.O_DIRECTORY

export function listingOperations(parts: Parts): Pick<Operations, 'readdir' | 'fsyncdir'> {
  return {
    readdir: (request) => whenListed(parts, request.path, () => readdir(parts.places, request)),
    fsyncdir: async ({ path, dataOnly }) => {
      const fd = parts.places.open(path, FOR_LISTING)
      try {
        await (dataOnly ? fdatasyncFd(fd) : fsyncFd(fd))
        return 0
      } finally {
        closeSync(fd)
      }
    },
  }
}

/**
 * All names at once, `.` and `..` first, the others in the order of their bytes: libfuse keeps the
 * list until the directory is read from its beginning again, so that it stays what it was.
 */
function readdir(places: Places, request: Request): number {
  const { path } = request
  const fd = places.open(path, FOR_LISTING)
  try {
    const own = fstatSync(fd, { bigint: true }).ino
    const parent = path === '' ? own : (places.find(parentOf(path))?.ino ?? own)
    const entries = directoryEntries(fd).sort((a, b) => compareBytes(a.name, b.name))
    const dots = [
      { name: Buffer.from('.\0'), ino: own, type: DIRECTORY },
      { name: Buffer.from('..\0'), ino: parent, type: DIRECTORY },
    ]
    request.putEntries([...dots, ...entries])
    return 0
  } finally {
    closeSync(fd)
  }
}

/** dirent.h, DT_DIR. */
const DIRECTORY = 4

/** Every directory below this one, and no more of their names than that. */
export function* directoriesIn(places: Places, path: string): Generator<string> {
  const fd = places.open(path, FOR_LISTING)
  try {
    for (const { name, type } of directoryEntries(fd)) {
      if (type === DIRECTORY) {
        const inner = `${path}/${fromBytes(Buffer.from(name.subarray(0, -1)))}`
        yield inner
        yield* directoriesIn(places, inner)
      }
    }
  } finally {
    closeSync(fd)
  }
}

export function isEmptyDirectory(places: Places, path: string): boolean {
  const fd = places.open(path, FOR_LISTING)
  try {
    return directoryEntries(fd).length === 0
  } finally {
    closeSync(fd)
  }
}
