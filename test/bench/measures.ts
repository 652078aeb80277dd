import type { Sizes } from './result.ts'

/** One figure of the report. */
export interface Measure {
  id: string
  title(sizes: Sizes): string
}

/** In the order of the report. */
export const MEASURES: readonly Measure[] = [
  { id: 'read-cold', title: ({ mib }) => `sequential read of ${mib} MiB, from the disk` },
  {
    id: 'read-first',
    title: () => 'the same, the first through the mount (the disk’s file in memory)',
  },
  { id: 'read-warm', title: () => 'the same again' },
  { id: 'write', title: ({ mib }) => `sequential write of ${mib} MiB, with fsync` },
  { id: 'mmap-first', title: () => 'copy out of a mapping, the first' },
  { id: 'mmap-warm', title: () => 'the same again' },
  { id: 'random-first', title: ({ random }) => `${random} random reads of 4 KiB, the first` },
  { id: 'random-warm', title: () => 'the same after a whole read' },
  { id: 'parallel-first', title: ({ readers }) => `${readers} readers at once, the first` },
  { id: 'create', title: ({ files }) => `create ${files} files of 4 KiB` },
  { id: 'stat', title: () => 'stat them' },
  { id: 'unlink', title: () => 'unlink them' },
  { id: 'list', title: ({ names }) => `list ${names} names` },
  { id: 'open-read', title: ({ opens }) => `open ${opens} files and read 4 KiB of each` },
  { id: 'commit', title: ({ mib }) => `commit of ${mib} MiB just written (plain: SHA-256 alone)` },
]

/** A step of test/bench/probe.py in every round. */
export interface Step {
  name: string
  /** The bytes just written are committed, timed; a plain directory hashes them instead. */
  commits?: boolean
  /** It leaves work for the background, which must be done before others are measured. */
  changes?: boolean
}

/** What is done in each round, in this order, each on all ways before the next one. */
export const STEPS: readonly Step[] = [
  { name: 'write', commits: true },
  { name: 'remove', changes: true },
  { name: 'read' },
  { name: 'mmap' },
  { name: 'random' },
  { name: 'parallel' },
  { name: 'list' },
  { name: 'open' },
  { name: 'small', changes: true },
]

export const SIZES: Sizes = {
  mib: 256,
  files: 2_000,
  names: 5_000,
  opens: 1_000,
  random: 8_000,
  readers: 16,
}

export const LONG_SIZES: Sizes = {
  mib: 1_024,
  files: 10_000,
  names: 20_000,
  opens: 5_000,
  random: 50_000,
  readers: 16,
}
