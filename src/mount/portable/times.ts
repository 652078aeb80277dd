/** utimens, exact to the nanosecond, in two steps of libfuse. */
import { fstatSync } from 'node:fs'
import { ModelcacheError, setTimesFollowed } from '../../base/index.ts'
import type { PlaceholderRecord } from '../../tree/index.ts'
import { timesOfSetattr } from './libfuse.ts'
import { type Parts, reach } from './parts.ts'
import { recordAt, replaceRecord } from './placeholders.ts'
import type { Request } from './request.ts'

/** sys/stat.h, in place of nanoseconds. */
const UTIME_NOW = 0x3fffffffn
const UTIME_OMIT = 0x3ffffffen
const NS_PER_SECOND = 1_000_000_000n
const NS_PER_MS = 1_000_000n

/** Times in milliseconds, as the addon tells them, of a file that gets them with the next request. */
interface Wish {
  path: string
  atimeMs: bigint
  mtimeMs: bigint
}

/**
 * The addon cuts times to milliseconds and takes "now" and "as it is" for times. libfuse follows
 * each utimens with a getattr of the same SETATTR by the same thread, whose memory shows the times
 * themselves. So they are set there; what fails then, fails the SETATTR.
 */
export class PendingTimes {
  readonly #wishes = new Map<Buffer, Wish>()

  /** utimens. */
  note({ thread, path, atimeMs, mtimeMs }: Request): number {
    this.#wishes.set(thread, { path, atimeMs, mtimeMs })
    return 0
  }

  /** Called before each other operation of the thread. */
  set(parts: Parts, request: Request): void {
    const wish = this.#wishes.size === 0 ? undefined : this.#wishes.get(request.thread)
    if (wish === undefined) {
      return
    }
    this.#wishes.delete(request.thread)
    const times = timesOfSetattr(request.statAddress)
    const isSame = (ms: bigint, at: number) =>
      times.readBigInt64LE(at) * 1000n + times.readBigInt64LE(at + 8) / NS_PER_MS === ms
    const isFollowing = request.name === 'getattr' || request.name === 'fgetattr'
    const isTheirs = isSame(wish.atimeMs, 0) && isSame(wish.mtimeMs, 16)
    if (!isFollowing || request.path !== wish.path || !isTheirs) {
      throw new ModelcacheError(`utimens ${wish.path}: the times were lost`, {
        code: 'times-lost',
        errno: 'EIO',
      })
    }
    setTimes(parts, wish.path, times)
  }
}

function setTimes(parts: Parts, path: string, times: Buffer): void {
  reach(parts, path, ({ at, fd, stats }, name) => {
    const record = stats.isFile() || stats.isDirectory() ? recordAt(at) : undefined
    const mtimeNs = record === undefined ? undefined : newTime(times, 16, parts.clock.now())
    if (record !== undefined && mtimeNs !== undefined) {
      replaceRecord(at, { ...record, mtimeNs } satisfies PlaceholderRecord)
    }
    // The inode's own mtime of a placeholder is seen by nobody.
    setTimesFollowed(at, times)
    parts.marks.edited(stats, fstatSync(fd, { bigint: true }), name)
  })
}

/** The time that is wished for, or undefined where it is to stay. */
function newTime(times: Buffer, at: number, now: Date): bigint | undefined {
  const nanoseconds = times.readBigInt64LE(at + 8)
  if (nanoseconds === UTIME_OMIT) {
    return undefined
  }
  return nanoseconds === UTIME_NOW
    ? BigInt(now.getTime()) * NS_PER_MS
    : times.readBigInt64LE(at) * NS_PER_SECOND + nanoseconds
}
