/** getattr, chmod, chown, statfs. */
import { type BigIntStats, chmodSync, chownSync, fstatSync, statfsSync } from 'node:fs'
import { constants } from 'node:os'
import { ModelcacheError } from '../../base/index.ts'
import { inodeIdOf, inodeKey, type PlaceholderRecord } from '../../tree/index.ts'
import { below, nameOf, parentOf } from './native-path.ts'
import { type Parts, reach, whenListed } from './parts.ts'
import { recordAt, recordOf, replaceRecord } from './placeholders.ts'
import { type Pin, procPath } from './places.ts'
import { BLOCK_BYTES, type Request, type StatAnswer } from './request.ts'
import type { Operations } from './session.ts'

const S_IFMT = 0o170000
const PERMISSIONS = 0o7777
const { ENOENT, ESTALE } = constants.errno
/** A link count of 1 says "not counted", as on btrfs; 2 would be: no directories in it. */
const NOT_COUNTED = 1n

type AttributeOperations = Pick<Operations, 'getattr' | 'fgetattr' | 'chmod' | 'chown' | 'statfs'>

export function attributeOperations(parts: Parts, tree: string): AttributeOperations {
  return {
    getattr: (request) => getattr(parts, request),
    fgetattr: (request) => fgetattr(parts, request),
    chmod: (request) =>
      edit(parts, request.path, (pin, record) => chmod(pin, record, request.mode & PERMISSIONS)),
    chown: ({ path, uid, gid }) => edit(parts, path, ({ at }) => chownSync(at, uid, gid)),
    statfs: (request) => {
      const space = statfsSync(tree, { bigint: true })
      request.putSpace({
        unitBytes: space.bsize,
        blocks: space.blocks,
        freeBlocks: space.bfree,
        availableBlocks: space.bavail,
        files: space.files,
        freeFiles: space.ffree,
      })
      return 0
    },
  }
}

function getattr(parts: Parts, request: Request): number | Promise<number> {
  const { path } = request
  const pin = parts.hidden.get(path)
  if (pin !== undefined) {
    const stats = fstatSync(pin.fd, { bigint: true })
    request.putStat(answerOf(parts, stats, recordAt(pin.at), parts.hidden.uncounted(path)))
    return 0
  }
  if (path === '') {
    return reach(parts, path, ({ at, stats }) => {
      request.putStat(answerOf(parts, stats, recordAt(at)))
      return 0
    })
  }
  return whenListed(parts, parentOf(path), (directory) => {
    const stats = parts.places.look(directory, nameOf(path))
    if (stats === undefined) {
      return parts.hidden.isFree(request, path) ? -ENOENT : -ESTALE
    }
    const canBeOne = stats.isFile() || stats.isDirectory()
    const record = canBeOne ? recordOf(below(directory.at, nameOf(path))) : undefined
    request.putStat(answerOf(parts, stats, record))
    return 0
  })
}

/** By the open file: its path may lead nowhere by now. */
function fgetattr(parts: Parts, request: Request): number {
  const { fd } = parts.files.get(request.handle)
  const stats = fstatSync(fd, { bigint: true })
  const uncounted = parts.hidden.uncounted(request.path)
  request.putStat(answerOf(parts, stats, recordAt(procPath(fd)), uncounted))
  return 0
}

/** Attributes as programs see them: links without ours, and what a record says. */
function answerOf(
  { marks, hydration }: Parts,
  stats: BigIntStats,
  own: PlaceholderRecord | undefined,
  uncounted = 0,
): StatAnswer {
  const key = inodeKey(inodeIdOf(stats))
  const record = own ?? (stats.isDirectory() ? hydration.listing(key) : undefined)
  const links = marks.links(stats)
  const answer = {
    ino: stats.ino,
    // Of none libfuse takes none.
    links: BigInt(links === 0 ? 0 : links + uncounted),
    mode: Number(stats.mode),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    rdev: stats.rdev,
    sizeBytes: stats.size,
    blocks: stats.blocks,
    atimeNs: stats.atimeNs,
    mtimeNs: stats.mtimeNs,
    ctimeNs: marks.ctimeNs(stats),
  }
  if (record === undefined) {
    return answer
  }
  const mode = (answer.mode & S_IFMT) | record.mode
  if (record.kind === 'directory') {
    return { ...answer, mode, mtimeNs: record.mtimeNs, links: NOT_COUNTED }
  }
  const sizeBytes = BigInt(record.sizeBytes)
  // GNU tar -S takes a file of no blocks for one hole, and archives zeros unread.
  const least = record.sizeBytes > 0 ? BigInt(BLOCK_BYTES / 512) : 0n
  const blocks = answer.blocks > least ? answer.blocks : least
  return { ...answer, mode, mtimeNs: record.mtimeNs, sizeBytes, blocks }
}

function chmod({ at, stats }: Pin, record: PlaceholderRecord | undefined, mode: number): void {
  if (stats.isSymbolicLink()) {
    throw new ModelcacheError('chmod of a symbolic link', {
      code: 'EOPNOTSUPP',
      errno: 'EOPNOTSUPP',
    })
  }
  if (record === undefined || !replaceRecord(at, { ...record, mode })) {
    chmodSync(at, mode)
  }
}

/** Changes attributes of what has the path, and tells of it. */
function edit(
  parts: Parts,
  path: string,
  change: (pin: Pin, record: PlaceholderRecord | undefined) => void,
): number {
  return reach(parts, path, (pin, name) => {
    const { stats } = pin
    const canBeOne = stats.isFile() || stats.isDirectory()
    change(pin, canBeOne ? recordAt(pin.at) : undefined)
    parts.marks.edited(stats, fstatSync(pin.fd, { bigint: true }), name)
    return 0
  })
}
