import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { type Clock, delay, fremovexattr } from '../../base/index.ts'
import { type InodeId, inodeKey, RECORD_XATTR, removeExtentMap } from '../../tree/index.ts'
import type { Hydration } from './hydration.ts'
import type { Marks } from './marks.ts'
import { recordAt } from './placeholders.ts'
import { procPath } from './places.ts'
import type { Asked, Questions } from './questions.ts'

/** The kernel's caller sets the size as soon as it runs on with our answer. */
const AFTER_TRUNCATION_MS = 20

const fsyncFd = promisify(fsync)

/** Placeholders that are being truncated; what would read or fetch them waits for the end of that. */
export class Truncations {
  readonly #running = new Map<string, Promise<void>>()

  isRunning(id: InodeId): boolean {
    return this.#running.has(inodeKey(id))
  }

  /** Resolves when no truncation of the inode is under way. */
  async ended(id: InodeId): Promise<void> {
    for (let job = this.#of(id); job !== undefined; job = this.#of(id)) {
      await job
    }
  }

  /** Runs `work` as the only truncation of the inode; nobody else must run one. */
  async run(id: InodeId, clock: Pick<Clock, 'setTimeout'>, work: () => Promise<void>) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#running.set(inodeKey(id), promise)
    try {
      await work()
    } finally {
      this.#running.delete(inodeKey(id))
      // A read that ends at the new size, answered before the kernel has set it, would show a page
      // of zeros (fs/fuse/file.c, fuse_short_read).
      void delay(AFTER_TRUNCATION_MS, undefined, clock).then(resolve)
    }
  }

  #of(id: InodeId): Promise<void> | undefined {
    return this.#running.get(inodeKey(id))
  }
}

export interface TruncationParts {
  hydration: Hydration
  truncations: Truncations
  questions: Questions
  marks: Marks
  /** The store's directory of extent maps. */
  extents: string
  clock: Pick<Clock, 'setTimeout'>
}

/**
 * Resolves when a placeholder was cut to `sizeBytes`, or is no placeholder any more and can be cut
 * like any file. The bytes before that size are fetched first.
 */
export async function truncatePlaceholder(
  parts: TruncationParts,
  asked: Asked,
  sizeBytes: number,
): Promise<void> {
  const { hydration, truncations, questions, clock } = parts
  for (;;) {
    const record = recordAt(procPath(asked.fd))
    if (record === undefined) {
      return
    }
    if (sizeBytes >= record.sizeBytes) {
      return await hydration.complete(asked, record)
    }
    await hydration.windows(asked, sizeBytes)
    if (!truncations.isRunning(asked.id)) {
      return await truncations.run(asked.id, clock, async () => {
        await questions.detach(asked)
        await convert(parts, asked, sizeBytes)
      })
    }
    await truncations.ended(asked.id)
  }
}

/**
 * Makes a placeholder of which [0, size) is present an ordinary file of that size. In this order a
 * crash leaves a placeholder of which nothing counts as present, or the ordinary file.
 */
async function convert(
  { hydration, marks, extents }: TruncationParts,
  { id, path, fd: pin }: Asked,
  sizeBytes: number,
): Promise<void> {
  await removeExtentMap(extents, id)
  if (recordAt(procPath(pin)) === undefined) {
    return
  }
  marks.willWrite(fstatSync(pin, { bigint: true }), path)
  const fd = openSync(procPath(pin), constants.O_RDWR)
  try {
    ftruncateSync(fd, sizeBytes)
    await fsyncFd(fd)
    // A program may have changed the mode while the disk was busy.
    const record = recordAt(procPath(fd))
    if (record !== undefined) {
      fchmodSync(fd, record.mode)
      fremovexattr(fd, RECORD_XATTR)
      hydration.becameComplete(inodeKey(id))
      await fsyncFd(fd)
    }
  } finally {
    closeSync(fd)
  }
}
