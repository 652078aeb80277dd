import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import {
  type Mount,
  type Running,
  repositoryRoot,
  scrubbedEnvironment,
  start,
  waitFor,
} from '../support/index.ts'

/** What there is to kill, known beforehand: asking for it takes longer than most moments last. */
export interface Victims {
  daemon: number
  /** Undefined where the daemon serves the mount by itself. */
  keeper: number | undefined
}

/** A mount that is to be brought to a moment. */
export interface Stage {
  mount: Mount
  store: string
  victims: Victims
  /** A directory outside of the mount. */
  home: string
}

/** A moment of a file's way into a root. */
export interface Moment {
  name: string
  /** Brings the mount there and kills at once; what it starts it ends. */
  killAt(stage: Stage, kill: () => void): Promise<void>
}

/** New files of a generation: enough that settling them all takes a while. */
export const FILES = 100
/** Objects that are made of them before a kill in the middle of it. */
const SOME_OBJECTS = 20
const PIECES = 24

const program = (name: string) => join(repositoryRoot, 'test/scenarios/python', name)

/** Upstream's list: mid-write, closed, mid-publish, published but not yet in the journal. */
export const MOMENTS: Moment[] = [
  { name: 'while a file is written', killAt: duringAWrite },
  {
    name: 'after close, before anything is published',
    killAt: async (_stage, kill) => kill(),
  },
  { name: 'while files are settled', killAt: duringSettling },
  { name: 'when the root is made and not yet logged', killAt: beforeTheLog },
  { name: 'when the root is logged and nobody was told', killAt: afterTheLog },
]

async function duringAWrite({ mount, home }: Stage, kill: () => void): Promise<void> {
  const writer = startProgram('write_on.py', join(mount.mountpoint, 'partial.incomplete'), home)
  try {
    await writePieces(writer, PIECES)
    kill()
  } finally {
    await writer.kill()
  }
}

/** Lets the writer write until it has written so many pieces. */
async function writePieces(writer: Running, pieces: number): Promise<void> {
  await waitFor('the writer to write', () => {
    const written = writer.output().split('\n').length - 1
    if (written < pieces) writer.child.stdin.write('\n')
    return written >= pieces
  })
}

async function duringSettling({ mount, store }: Stage, kill: () => void): Promise<void> {
  const objects = () => readdirSync(join(store, 'objects')).length
  const before = objects()
  const committing = mount.commit().catch((error: unknown) => error)
  // No pause between two looks: the moment is short.
  while (objects() < before + SOME_OBJECTS) await breathe()
  kill()
  if (objects() >= before + FILES) throw new Error('the kill came when all was settled')
  await committing
}

async function beforeTheLog(stage: Stage, kill: () => void): Promise<void> {
  await atTheLog(stage, async (letGo) => {
    kill()
    // The next daemon reads the log when it starts.
    letGo()
  })
}

/** A keeper that stands still has not read that the root is committed. */
async function afterTheLog(stage: Stage, kill: () => void): Promise<void> {
  const { store, victims } = stage
  const log = join(store, 'commits')
  const before = readFileSync(log, 'utf8').length
  await atTheLog(stage, async (letGo) => {
    if (victims.keeper !== undefined) process.kill(victims.keeper, 'SIGSTOP')
    try {
      letGo()
      while (readFileSync(log, 'utf8').length === before) await breathe()
      kill()
    } finally {
      resume(victims.keeper)
    }
  })
}

/** Stops a commit where it opens the log to append its root. */
async function atTheLog(
  { mount, store, home }: Stage,
  act: (letGo: () => void) => Promise<void>,
): Promise<void> {
  const holder = startProgram('hold_lease.py', join(store, 'commits'), home)
  try {
    await waitFor('the lease', () => holder.output().includes('held'))
    const committing = mount.commit().catch((error: unknown) => error)
    await waitFor('the commit to open its log', () => holder.output().includes('asked'))
    await act(() => holder.child.stdin.end('\n'))
    await committing
  } finally {
    await holder.kill()
  }
}

function startProgram(name: string, path: string, home: string): Running {
  const env = scrubbedEnvironment(home)
  return start('python3', ['-B', program(name), path], { env, interactive: true })
}

function resume(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(pid, 'SIGCONT')
  } catch (error) {
    // It was one of those that were killed.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
