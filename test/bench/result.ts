/** What a sample counts: bytes, or operations of which one is a file, a name or a read. */
export type Unit = 'B' | 'op'

/** One measure of one way in, once. */
export interface Sample {
  way: string
  measure: string
  /** From 1. */
  round: number
  seconds: number
  amount: number
  unit: Unit
}

/** One way into a directory, as it was met in this run. */
export interface WayFacts {
  id: string
  title: string
  state: 'measured' | 'missing'
  /** What the mount says of itself, or why it is missing. */
  detail: string
}

/** How large the measured things are. */
export interface Sizes {
  /** Of the file that is read and written, in MiB. */
  mib: number
  /** Small files that are made, looked at and removed. */
  files: number
  /** Names in the directory that is listed. */
  names: number
  /** Small files that are opened and read. */
  opens: number
  /** Reads of 4 KiB at random places. */
  random: number
  /** Threads that read parts of one file at once. */
  readers: number
}

export interface Machine {
  kernel: string
  cpus: string
  memoryGiB: number
  fileSystem: string
  /** Of the last minute, when the run began and when it ended: others at work falsify figures. */
  load: { start: number; end: number }
  versions: Record<string, string>
}

/** Everything of one run; kept as JSON, from which docs/benchmarks.md is made. */
export interface BenchResult {
  version: 1
  date: string
  /** HEAD of the clone, with `+` where the working tree differs from it. */
  commit: string
  minutes: number
  rounds: number
  sizes: Sizes
  machine: Machine
  ways: WayFacts[]
  samples: Sample[]
}

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)]
  const lower = sorted[Math.ceil(sorted.length / 2) - 1]
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2
}

/** Bytes or operations a second in each round. */
export function speedsOf(result: BenchResult, way: string, measure: string): number[] {
  return result.samples
    .filter((sample) => sample.way === way && sample.measure === measure)
    .map((sample) => sample.amount / sample.seconds)
}

/** The median of the rounds; undefined where nothing was measured. */
export function rate(result: BenchResult, way: string, measure: string): number | undefined {
  return median(speedsOf(result, way, measure))
}

/** How many times as fast `way` is as `other`, by their medians of the same run. */
export function ratio(
  result: BenchResult,
  measure: string,
  way: string,
  other: string,
): number | undefined {
  const [mine, theirs] = [rate(result, way, measure), rate(result, other, measure)]
  return mine === undefined || theirs === undefined || theirs === 0 ? undefined : mine / theirs
}
