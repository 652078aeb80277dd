import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
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

type KeeperProcess = ChildProcessByStdio<Writable, Readable, null>

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
  const child = await spawnKeeper(keeper, config, log).finally(() => log.close())
  const exit = Promise.withResolvers<number>()
  child.on('exit', (code, name) => exit.resolve(code ?? (name === null ? 1 : 128)))
  try {
    const { pid, passthrough } = await readReady(child, withDeadline(signal, MOUNT_DEADLINE_MS))
    return { pid, passthrough, ended: exit.promise, leave: () => child.unref() }
  } catch (error) {
    await stopKeeper(child)
    throw error
  }
}

async function spawnKeeper(
  keeper: string,
  config: KeeperConfig,
  log: FileHandle,
): Promise<KeeperProcess> {
  const child = spawn(keeper, [], {
    cwd: config.store,
    env: config.daemon.env,
    detached: true,
    stdio: ['pipe', 'pipe', log.fd],
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error) =>
      reject(
        new ModelcacheError(`start the keeper ${keeper}: ${messageOf(error)}`, {
          code: 'keeper-failed',
          exitCode: 5,
          cause: error,
        }),
      ),
    )
  })
  // A keeper that ends before it has read all of it says why on its standard output.
  child.stdin.on('error', () => {})
  child.stdin.end(JSON.stringify(config))
  return child
}

/** Reads the keeper's one line. */
async function readReady(
  child: KeeperProcess,
  signal: AbortSignal,
): Promise<Pick<StartedKeeper, 'pid' | 'passthrough'>> {
  const line = await firstLine(child.stdout, signal)
  child.stdout.destroy()
  const message: unknown = line === '' ? undefined : JSON.parse(line)
  if (child.pid !== undefined && isRecord(message) && message.ready === true) {
    const passthrough = isRecord(message.passthrough) ? message.passthrough : {}
    return {
      pid: child.pid,
      passthrough: {
        active: passthrough.active === true,
        reason: typeof passthrough.reason === 'string' ? passthrough.reason : '',
      },
    }
  }
  throw keeperError(isRecord(message) && isRecord(message.error) ? message.error : {})
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
    typeof error.message === 'string' ? error.message : 'the keeper ended before it was ready',
    { code: typeof error.code === 'string' ? error.code : 'keeper-failed', exitCode },
  )
}

/** SIGTERM means unmount; a keeper that does not end by it has nothing mounted that matters. */
async function stopKeeper(child: ChildProcess): Promise<void> {
  const ended = () => child.exitCode !== null || child.signalCode !== null
  child.kill('SIGTERM')
  if (!(await waitUntil(ended, STOP_MS))) {
    child.kill('SIGKILL')
    await waitUntil(ended, STOP_MS)
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
