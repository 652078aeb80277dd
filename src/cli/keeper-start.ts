import { type ChildProcess, spawn } from 'node:child_process'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type ExitCode, ModelcacheError, messageOf, withDeadline } from '../base/index.ts'
import { type KeeperConfig, MOUNT_DEADLINE_MS } from '../config/index.ts'
import { waitUntil } from './wait.ts'

/** A keeper whose mount answers. */
export interface StartedKeeper {
  readonly pid: number
  readonly passthrough: { readonly active: boolean; readonly reason: string }
  /** The exit code of the keeper, for who stays with it. */
  readonly ended: Promise<number>
  /** Lets this process end while the keeper goes on. */
  leave(): void
}

/** The process, and the one line that it will say. */
interface KeeperProcess {
  readonly child: ChildProcess
  readonly stdout: Readable
  readonly line: Promise<string>
  readonly ended: Promise<number>
}

/** A keeper that is told to end drains first; after this it is killed. */
const STOP_MS = 10_000

/** The keeper's one line; a longer one is not from a keeper. */
const MAX_LINE_BYTES = 64 * 1024

/**
 * Starts a keeper in a session of its own and waits until its mount answers. When it fails, or
 * `signal` aborts first, no keeper is left.
 *
 * @param keeper - path of the executable
 * @throws ModelcacheError with the keeper's own code, message and exit code
 */
export async function startKeeper(
  keeper: string,
  config: KeeperConfig,
  keeperLog: string,
  signal: AbortSignal,
): Promise<StartedKeeper> {
  const log = await open(keeperLog, 'a', 0o600)
  try {
    const started = spawnKeeper(keeper, config, log, withDeadline(signal, MOUNT_DEADLINE_MS))
    return await readyOrStopped(started, keeperLog)
  } finally {
    await log.close()
  }
}

async function readyOrStopped(started: KeeperProcess, keeperLog: string): Promise<StartedKeeper> {
  const { child, ended } = started
  try {
    const ready = await readReady(started, keeperLog)
    return { ...ready, ended, leave: () => child.unref() }
  } catch (error) {
    await stopKeeper(child)
    throw error
  }
}

function spawnKeeper(
  keeper: string,
  config: KeeperConfig,
  log: FileHandle,
  signal: AbortSignal,
): KeeperProcess {
  const child = spawn(keeper, [], {
    cwd: config.store,
    env: config.daemon.env,
    detached: true,
    stdio: ['pipe', 'pipe', log.fd],
  })
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) {
    throw keeperError({ message: 'the keeper was started without its pipes' })
  }
  // Read from the first moment: what a process leaves that ends at once is thrown away by Node.
  const line = firstLine(stdout, signal)
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', (error) =>
      reject(
        keeperError({ message: `start the keeper ${keeper}: ${messageOf(error)}`, exitCode: 5 }),
      ),
    )
  })
  // A keeper that ends before it has read all of it says why on its standard output.
  stdin.on('error', () => {})
  stdin.end(JSON.stringify(config))
  const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
  return { child, stdout, line: Promise.race([line, failed]), ended }
}

/** Reads the keeper's one line. */
async function readReady(
  { child, stdout, line: said }: KeeperProcess,
  keeperLog: string,
): Promise<Pick<StartedKeeper, 'pid' | 'passthrough'>> {
  const line = await said
  stdout.destroy()
  if (line === '') {
    throw keeperError({
      message: `the keeper ended before it was ready: ${await lastWords(keeperLog)}`,
    })
  }
  const message: unknown = JSON.parse(line)
  if (child.pid === undefined || !isRecord(message) || message.ready !== true) {
    throw keeperError(isRecord(message) && isRecord(message.error) ? message.error : {})
  }
  const passthrough = isRecord(message.passthrough) ? message.passthrough : {}
  return {
    pid: child.pid,
    passthrough: {
      active: passthrough.active === true,
      reason: typeof passthrough.reason === 'string' ? passthrough.reason : '',
    },
  }
}

/** The last line of a log: a program that ended without an answer said why there. */
async function lastWords(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.trim() !== '')
  return lines.at(-1)?.slice(0, 500) ?? `${log} says nothing`
}

function firstLine(stream: Readable, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const end = () => {
      signal.removeEventListener('abort', stop)
      resolve(text.split('\n', 1)[0] ?? '')
    }
    const stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('\n') || text.length > MAX_LINE_BYTES) {
        end()
      }
    })
    stream.on('end', end)
    stream.on('error', reject)
    if (signal.aborted) {
      stop()
    }
  })
}

function keeperError(error: Record<string, unknown>): ModelcacheError {
  const exitCode: ExitCode = [1, 2, 3, 4, 5].includes(Number(error.exitCode))
    ? (Number(error.exitCode) as ExitCode)
    : 1
  return new ModelcacheError(
    typeof error.message === 'string' ? error.message : 'the keeper failed without a reason',
    { code: typeof error.code === 'string' ? error.code : 'keeper-failed', exitCode },
  )
}

/** SIGTERM means unmount; a keeper that does not end by it has nothing mounted that matters. */
async function stopKeeper(child: ChildProcess): Promise<void> {
  const ended = () =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  child.kill('SIGTERM')
  if (!(await waitUntil(ended, STOP_MS))) {
    child.kill('SIGKILL')
    await waitUntil(ended, STOP_MS)
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
