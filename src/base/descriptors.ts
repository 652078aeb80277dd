/** Limits and flags of this process's descriptors. */
import { check, declare } from './libc.ts'

/** asm-generic/resource.h. */
const RLIMIT_NOFILE = 7
/** fcntl.h. */
const F_SETFD = 2
const FD_CLOEXEC = 1
/**
 * Descriptors that root asks for where even the hard limit is low. Each open file of a program
 * takes one, and the default of systemd is this, too.
 */
const WANTED = 524_288n

const getrlimit = declare('int getrlimit(int resource, _Out_ void *limit)')
const setrlimit = declare('int setrlimit(int resource, const void *limit)')
const fcntl = declare('int fcntl(int fd, int command, int value)')

/** What became of the limit of descriptors. */
export interface DescriptorLimit {
  before: number
  now: number
}

/**
 * Raises the soft limit of descriptors to the hard one, and as root that one, too. Each file that a
 * program has open takes a descriptor of this process; at the limit open(2) is EMFILE.
 */
export function raiseDescriptorLimit(): DescriptorLimit {
  const [soft, hard] = limit()
  const wanted = hard > WANTED ? hard : WANTED
  const isRaised = wanted > hard && setrlimit(RLIMIT_NOFILE, words(wanted, wanted)) === 0
  if (!isRaised) {
    // Never refused; should a sandbox do so, the limit stays what it was, as the answer shows.
    setrlimit(RLIMIT_NOFILE, words(hard, hard))
  }
  return { before: Number(soft), now: Number(limit()[0]) }
}

function limit(): readonly [soft: bigint, hard: bigint] {
  const bytes = new Uint8Array(16)
  check('getrlimit', getrlimit(RLIMIT_NOFILE, bytes))
  const [soft = 0n, hard = 0n] = new BigUint64Array(bytes.buffer)
  return [soft, hard]
}

function words(soft: bigint, hard: bigint): Uint8Array {
  return new Uint8Array(new BigUint64Array([soft, hard]).buffer)
}

/** Children that are started later do not inherit the descriptor. */
export function closeOnExec(fd: number): void {
  check('fcntl F_SETFD', fcntl(fd, F_SETFD, FD_CLOEXEC))
}
