import type { BigIntStats } from 'node:fs'

/** Names one file for as long as it exists: an inode number alone is used again. */
export interface InodeId {
  ino: bigint
  /** Birth time in nanoseconds since 1970; 0 where the file system keeps none. */
  btimeNs: bigint
}

/** What must be unchanged for a file to be clean. */
export interface Stamp {
  sizeBytes: number
  mtimeNs: bigint
  ctimeNs: bigint
}

/** The id as it is in names of files and keys of maps: `INO-BTIME`, both decimal. */
export function inodeKey(id: InodeId): string {
  return `${id.ino}-${id.btimeNs}`
}

/** The id of a file from `stat` with `{ bigint: true }`. */
export function inodeIdOf(stats: Pick<BigIntStats, 'ino' | 'birthtimeNs'>): InodeId {
  return { ino: stats.ino, btimeNs: stats.birthtimeNs }
}

export function sameInode(a: InodeId, b: InodeId): boolean {
  return a.ino === b.ino && a.btimeNs === b.btimeNs
}

/** The stamp of a file from `stat` with `{ bigint: true }`. */
export function stampOf(stats: Pick<BigIntStats, 'size' | 'mtimeNs' | 'ctimeNs'>): Stamp {
  return { sizeBytes: Number(stats.size), mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs }
}

export function sameStamp(a: Stamp, b: Stamp): boolean {
  return a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs
}
