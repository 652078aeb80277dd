/**
 * A process that holds a mount of the portable engine, with as much of a daemon as its tests need:
 * the process that looks into a mount must not be the one that serves it. Its parent speaks to it by
 * messages.
 */
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createLogger, ModelcacheError, systemClock } from '../../src/base/index.ts'
import {
  createPortableEngine,
  openLocalTree,
  type Snapshot,
  type Subject,
} from '../../src/mount/index.ts'
import { completePlaceholder, createStore, inodeKey, readRecord } from '../../src/tree/index.ts'
import type { Answer, Order, ServerOptions } from './portable-mount.ts'

const options = JSON.parse(process.argv[2] ?? '') as ServerOptions
const { store, mountpoint, sources } = options
const MIB = 1024 * 1024
/** Ranges that came, in MiB, by inode. */
const present = new Map<string, Set<number>>()
let isHolding = false

process.umask(0o077)
const logger = createLogger({ level: 'info', write: (line) => process.stderr.write(line) })
const tree = await openLocalTree(await createStore(store), { logger, clock: systemClock })
const engine = await createPortableEngine({
  tree,
  mountpoint,
  readOnly: options.readOnly ?? false,
  fsName: `modelcache#${store}`,
  fetchDeadlineMs: options.fetchDeadlineMs ?? 10_000,
  logger,
  clock: systemClock,
})

/** The bytes of a placeholder lie under the name of its CID in `sources`. */
async function fill(
  subject: Subject,
  offset: number,
  length: number,
): Promise<{ complete: boolean }> {
  if (isHolding) {
    await new Promise(() => undefined)
  }
  const file = await open(subject.at ?? '', 'r+')
  try {
    const record = readRecord(file.fd)
    if (record === undefined) {
      return { complete: true }
    }
    const bytes = readFileSync(join(sources, record.cid.toString()))
    const pieces = present.get(inodeKey(subject.id)) ?? new Set()
    present.set(inodeKey(subject.id), pieces)
    for (let piece = Math.floor(offset / MIB); piece * MIB < offset + length; piece += 1) {
      const part = bytes.subarray(piece * MIB, (piece + 1) * MIB)
      await file.write(part, 0, part.length, piece * MIB)
      pieces.add(piece)
    }
    if (pieces.size < Math.ceil(record.sizeBytes / MIB)) {
      return { complete: false }
    }
    await completePlaceholder(file.fd, record)
    return { complete: true }
  } finally {
    await file.close()
  }
}

engine.on({
  list: async () => undefined,
  fill,
  detach: async ({ ino, btimeNs }) => void present.delete(`${ino}-${btimeNs}`),
  cid: async () => {
    throw new ModelcacheError('it is dirty', { code: 'ENODATA', errno: 'ENODATA' })
  },
  changed: (changes) => {
    for (const change of changes) {
      send({ event: 'changed', kind: change.kind, path: 'path' in change ? change.path : '' })
    }
  },
  broken: () => send({ event: 'broken' }),
  drain: (reason, unmounted) => send({ event: 'drain', reason, unmounted }),
})
engine.ready()

function send(answer: Answer): void {
  process.send?.(answer)
}

function shown({ directories }: Snapshot): unknown {
  return directories.map(({ path, entries }) => [path, entries.map(({ name }) => name)])
}

async function obey(order: Order): Promise<unknown> {
  switch (order.order) {
    case 'unmount':
      return await engine.unmount(order.lazy)
    case 'done':
      return await engine.done(0)
    case 'hold':
      isHolding = true
      return undefined
    case 'snapshot':
      return shown(await engine.snapshot(order.all))
    case 'stats':
      return { ...(await engine.stats()), dirty: tree.dirty().length }
  }
}

process.on('message', (order: Order) => {
  obey(order).then(
    (value) => send({ event: 'done', value }),
    (error: unknown) =>
      send({ event: 'failed', errno: error instanceof ModelcacheError ? error.errno : 'EIO' }),
  )
})
process.once('disconnect', () => process.exit(0))
send({ event: 'mounted' })
