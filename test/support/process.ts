import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'

/** How a process ended and what it wrote. */
export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env: Record<string, string>
  cwd?: string
  input?: string
  /** Leaves stdin open, for a test that answers the program. */
  interactive?: boolean
  /** Milliseconds until it is killed and the run fails. */
  deadlineMs?: number
}

/** A process that a test started: waited for or killed by its own pid, never by a name. */
export interface Running {
  readonly pid: number
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>
  /** Ends with the exit; fails when the deadline passes first (the process is then killed). */
  readonly finished: Promise<Finished>
  /** What it has written to stdout up to now. */
  output(): string
  /** SIGKILL, and waits for the end. Harmless after the end. */
  kill(): Promise<void>
}

/** Longest single step of the clients on a slow machine, with room; the long run's loops need more. */
const DEADLINE_MS = process.env.MODELCACHE_TEST_LONG === '1' ? 1_800_000 : 180_000

/** Starts a process; stdin is empty unless `input` is given. */
export function start(command: string, args: string[], options: RunOptions): Running {
  const child = spawn(command, args, {
    env: options.env,
    cwd: options.cwd ?? '/',
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  // A program may end before it has read its input; its exit code tells what matters.
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') stderr += `\n[stdin: ${error.message}]`
  })
  if (!options.interactive) child.stdin.end(options.input ?? '')
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS
  const finished = new Promise<Finished>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      const tail = `${stdout.slice(-2000)}\n${stderr.slice(-4000)}`
      reject(new Error(`${command} ${args.join(' ')}: not finished in ${deadlineMs} ms\n${tail}`))
    }, deadlineMs)
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(new Error(`start ${command}: ${error.message}`, { cause: error }))
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stdout, stderr })
    })
  })
  // A test that fails before it awaits the end must not bring the whole run down as well.
  finished.catch(() => undefined)
  return {
    pid: child.pid ?? -1,
    child,
    finished,
    output: () => stdout,
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await finished.catch(() => undefined)
    },
  }
}

/** Runs a process to its end. It does not fail on an exit code: see {@link runOk}. */
export function run(command: string, args: string[], options: RunOptions): Promise<Finished> {
  return start(command, args, options).finished
}

/** Runs a process that must exit 0. @throws Error with both streams otherwise */
export async function runOk(
  command: string,
  args: string[],
  options: RunOptions,
): Promise<Finished> {
  const result = await run(command, args, options)
  if (result.code !== 0) {
    throw new Error(
      `${command} ${args.join(' ')}: exit ${result.code ?? result.signal}\n` +
        `${result.stdout.slice(-4000)}\n${result.stderr.slice(-8000)}`,
    )
  }
  return result
}

/**
 * Whether a process of that pid runs, or still holds something: a zombie has ended, but its
 * descriptors go only with its last thread.
 */
export function isAlive(pid: number): boolean {
  try {
    const [, state] = /^\d+ \(.*\) (\w)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return state !== 'Z' || readdirSync(`/proc/${pid}/task`).length > 1
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}
