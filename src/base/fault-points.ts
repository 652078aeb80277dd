import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'

/**
 * Where this process can be made to die or stand still, for tests: each step after which what is
 * on disk is another. `reached` stands in the code right after what the sentence says.
 */
export const FAULT_POINTS = {
  'adopt.marked': 'the tree of a new store is a directory that is not listed',
  'adopt.logged': 'the root of `--from` is in the log',
  'list.created': 'a listed directory has its placeholders',
  'list.row': 'and its row',
  'list.done': 'and is no placeholder any more',
  'fill.written': 'fetched bytes are in the placeholder',
  'fill.synced': 'and durable',
  'fill.marked': 'and recorded as present',
  'complete.synced': 'the last byte of a placeholder is durable',
  'complete.cleared': 'it is a complete file',
  'complete.map-removed': 'its extent map is gone',
  'settle.leased': 'a file has a read lease',
  'settle.synced': 'it is durable',
  'settle.hashed': 'it was hashed, its nodes are durable',
  'settle.linked': 'it is an object',
  'settle.leaves': 'the index has its leaves',
  'settle.row': 'and the table its row',
  'leaves.batch': 'a batch of leaves is in the index',
  'node.written': 'a block has its bytes under a temporary name',
  'node.named': 'and its own',
  'nodes.flushed': 'blocks are durable',
  'commit.listed': 'the tree was listed',
  'commit.built': 'the directory nodes were put',
  'commit.stored': 'the commit block is durable',
  'commit.logged': 'the root is in the log',
  'commit.rows': 'the rows of its directories are in the table',
  'commit.done': 'the engine knows that it is done',
  'orphan.row': 'the row of a file without a name is gone',
  'orphan.leaves': 'and its leaves',
  'orphan.unlinked': 'and its object',
  'durable.written': 'a file of the store is durable under a temporary name',
  'durable.renamed': 'and has its own',
} as const

export type FaultPoint = keyof typeof FAULT_POINTS

/** `kill`: SIGKILL to this process; `kill-both`: to the keeper, too; `stop`: SIGSTOP. */
export const FAULT_ACTIONS = ['kill', 'kill-both', 'stop'] as const
export type FaultAction = (typeof FAULT_ACTIONS)[number]

/** What is to happen, at which visit of which point. */
export interface Fault {
  readonly point: string
  /** Counted from 1. */
  readonly visit: number
  readonly action: FaultAction
  /** A file that is made right before it happens, so that a test knows that it did. */
  readonly marker: string
}

let armed: { fault: Fault; otherPid: number; visits: number } | undefined

/** Arms one fault, once. @param otherPid the keeper, for `kill-both` */
export function armFault(fault: Fault, otherPid: number): void {
  armed = { fault, otherPid, visits: 0 }
}

/** Costs one comparison where nothing is armed, which is everywhere but in tests. */
export function reached(point: FaultPoint): void {
  if (armed !== undefined && armed.fault.point === point) {
    visit(armed)
  }
}

function visit(state: { fault: Fault; otherPid: number; visits: number }): void {
  state.visits += 1
  const { fault, otherPid } = state
  if (state.visits !== fault.visit) {
    return
  }
  const marker = openSync(fault.marker, 'w')
  writeSync(marker, `${process.pid}\n`)
  fsyncSync(marker)
  closeSync(marker)
  if (fault.action === 'kill-both' && otherPid !== process.pid) {
    process.kill(otherPid, 'SIGKILL')
  }
  process.kill(process.pid, fault.action === 'stop' ? 'SIGSTOP' : 'SIGKILL')
  // The signal is the process's: this very thread must not go on until it has taken effect.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STAND_STILL_MS)
}

/** Nobody lets a stopped process go on. */
const STAND_STILL_MS = 600_000
