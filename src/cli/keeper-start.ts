import { type ChildProcess, spawn } from 'node:child_process'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type ExitCode, ModelcacheError, messageOf, systemClock } from '../base/index.ts'
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

/** How far fetching has come that must end before the mount (docs/protocol.md). */
export interface FetchProgress {
  readonly files: number
  readonly ofFiles: number
  readonly bytes: number
  readonly ofBytes: number
}

/** The process, and the last line that it will say. */
interface KeeperProcess {
  readonly child: ChildProcess
  readonly name: string
  readonly stdout: Readable
  readonly line: Promise<string>
  readonly ended: Promise<number>
  readonly log: StartLog
}

/** A keeper that is told to end drains first; after this it is killed. */
const STOP_MS = 10_000

/** A line of the keeper; a longer one is not from a keeper. */
const MAX_LINE_BYTES = 64 * 1024

/** What fits into a message of one line. */
const MAX_WORDS = 500

/** The helper's line and libfuse's own. */
const PLAIN_LINES = 3

/** Where the standard error of this start is: in a file that holds those of starts before. */
interface StartLog {
  readonly path: string
  readonly startByte: number
}

export interface KeeperStart {
  /** The keeper, or the daemon with an engine inside: the program and its arguments. */
  readonly command: readonly string[]
  readonly config: KeeperConfig
  /** Gets its standard error. */
  readonly log: string
  readonly signal: AbortSignal
  onProgress(progress: FetchProgress): void
}

/**
 * Starts what serves the mount in a session of its own and waits until the mount answers. When it
 * fails, or `signal` aborts first, no process is left.
 *
 * @throws ModelcacheError with the process's own code, message and exit code
 */
export async function startKeeper(start: KeeperStart): Promise<StartedKeeper> {
  const log = await open(start.log, 'a', 0o600)
  try {
    const { size } = await log.stat()
    return await readyOrStopped(spawnKeeper(start, log, { path: start.log, startByte: size }))
  } finally {
    await log.close()
  }
}

async function readyOrStopped(started: KeeperProcess): Promise<StartedKeeper> {
  const { child, ended } = started
  try {
    const ready = await readReady(started)
    return { ...ready, ended, leave: () => child.unref() }
  } catch (error) {
    await stopKeeper(child)
    throw error
  }
}

function spawnKeeper(start: KeeperStart, file: FileHandle, log: StartLog): KeeperProcess {
  const { config } = start
  const [program = '', ...args] = start.command
  const name = config.engine === 'native' ? 'keeper' : 'daemon'
  const child = spawn(program, args, {
    cwd: config.store,
    env: config.daemon.env,
    detached: true,
    stdio: ['pipe', 'pipe', file.fd],
  })
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) {
    throw keeperError({ message: `the ${name} was started without its pipes` })
  }
  // Read from the first moment: what a process leaves that ends at once is thrown away by Node.
  const line = lastLine(stdout, start)
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', (error) =>
      reject(
        keeperError({ message: `start the ${name} ${program}: ${messageOf(error)}`, exitCode: 5 }),
      ),
    )
  })
  // A keeper that ends before it has read all of it says why on its standard output.
  stdin.on('error', () => {})
  stdin.end(JSON.stringify(config))
  const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
  return { child, name, stdout, line: Promise.race([line, failed]), ended, log }
}

/** Reads what comes of the start. */
async function readReady({
  child,
  name,
  stdout,
  line: said,
  log,
}: KeeperProcess): Promise<Pick<StartedKeeper, 'pid' | 'passthrough'>> {
  const line = await said
  stdout.destroy()
  if (line === '') {
    throw keeperError({
      message: `the ${name} ended before it was ready: ${await lastWords(log.path)}`,
    })
  }
  const message: unknown = JSON.parse(line)
  if (child.pid === undefined || !isRecord(message) || message.ready !== true) {
    const error = isRecord(message) && isRecord(message.error) ? message.error : {}
    throw keeperError(await withPlainWords(error, log))
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

/**
 * libfuse knows why a mount failed and says it on standard error only, in words between the lines
 * of the log, which are JSON; the error that comes of it is `fuse failed`.
 */
async function withPlainWords(
  error: Record<string, unknown>,
  { path, startByte }: StartLog,
): Promise<Record<string, unknown>> {
  if (error.code !== 'mount-failed' || typeof error.message !== 'string') {
    return error
  }
  const text = (await readFile(path)).subarray(startByte).toString('utf8')
  const words = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('{'))
  const said = words.slice(-PLAIN_LINES).join('; ').slice(0, MAX_WORDS)
  return said === '' ? error : { ...error, message: `${error.message}: ${said}` }
}

/** The last line of a log: a program that ended without an answer said why there. */
async function lastWords(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.trim() !== '')
  return lines.at(-1)?.slice(0, MAX_WORDS) ?? `${log} says nothing`
}

/**
 * The line that ends the start: `ready` or `error`. Lines of progress come before; each gives it
 * the whole time again.
 */
function lastLine(stream: Readable, { signal, onProgress }: KeeperStart): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const finish = (settle: () => void) => {
      timer.cancel()
      signal.removeEventListener('abort', stop)
      settle()
    }
    const stop = () => finish(() => reject(signal.reason))
    const late = () =>
      finish(() =>
        reject(keeperError({ message: `nothing was heard for ${MOUNT_DEADLINE_MS / 1000} s` })),
      )
    let timer = systemClock.setTimeout(late, MOUNT_DEADLINE_MS)
    signal.addEventListener('abort', stop, { once: true })
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      text += chunk
      for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
        const line = text.slice(0, end)
        const progress = progressOf(line)
        if (progress === undefined) {
          finish(() => resolve(line))
          return
        }
        text = text.slice(end + 1)
        timer.cancel()
        timer = systemClock.setTimeout(late, MOUNT_DEADLINE_MS)
        onProgress(progress)
      }
      if (text.length > MAX_LINE_BYTES) {
        finish(() => resolve(text))
      }
    })
    stream.on('end', () => finish(() => resolve(text)))
    stream.on('error', (error) => finish(() => reject(error)))
    if (signal.aborted) {
      stop()
    }
  })
}

function progressOf(line: string): FetchProgress | undefined {
  if (!line.startsWith('{"progress"')) {
    return undefined
  }
  const { progress } = JSON.parse(line)
  return isRecord(progress) &&
    ['files', 'ofFiles', 'bytes', 'ofBytes'].every((name) => typeof progress[name] === 'number')
    ? (progress as unknown as FetchProgress)
    : undefined
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
