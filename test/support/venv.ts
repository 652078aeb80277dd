import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { repositoryRoot } from './modelcache.ts'
import { runOk } from './process.ts'
import { testCacheDir } from './temp-dir.ts'

/** The sets of pins: one file in test/clients/requirements each. */
export type PinSet = 'hub-append' | 'hub-1x' | 'hub-newest' | 'beyond-hub'

export interface Venv {
  /** The interpreter; the set's packages and torch import in it. */
  readonly python: string
  /** Milliseconds that building it took now; 0 when it was there. */
  readonly builtMs: number
}

const REQUIREMENTS = join(repositoryRoot, 'test/clients/requirements')
const STUBS = join(repositoryRoot, 'test/clients/python/cuda_stubs.py')

/** Downloads of some 600 MB on a slow line. */
const INSTALL_DEADLINE_MS = 20 * 60_000

/**
 * The virtual environment of a set of pins, built if it is not there: outside the clone, named by
 * the hash of what goes into it, under a lock, and given its name only when it is whole, so that
 * an interrupted set-up is simply done again (pip keeps what it has downloaded).
 */
export async function venv(set: PinSet): Promise<Venv> {
  const torch = await torchLayer()
  const directory = join(testCacheDir(), `venv-${keyOf(`${set}.txt`)}-${torch.key}`)
  const python = join(directory, 'bin/python')
  const builtMs = await once(directory, async () => {
    await runOk('python3', ['-m', 'venv', directory], running())
    await pip(python, ['--no-deps', '-r', join(REQUIREMENTS, `${set}.txt`)])
    const { stdout } = await runOk(python, ['-c', SITE_PACKAGES], running())
    // A .pth line adds a directory to sys.path: torch is installed once for all sets.
    await writeFile(join(stdout.trim(), 'torch-layer.pth'), `${torch.directory}\n`)
  })
  return { python, builtMs: builtMs + torch.builtMs }
}

const SITE_PACKAGES = 'import sysconfig; print(sysconfig.get_paths()["purelib"])'

/** torch and numpy, which all sets share: 1.1 GB unpacked, so once and not three times. */
async function torchLayer(): Promise<{ directory: string; key: string; builtMs: number }> {
  const key = keyOf('torch.txt')
  const directory = join(testCacheDir(), `torch-${key}`)
  const builtMs = await once(directory, async () => {
    const maker = join(directory, '.pip')
    await runOk('python3', ['-m', 'venv', maker], running())
    const python = join(maker, 'bin/python')
    const wanted = ['--no-deps', '-r', join(REQUIREMENTS, 'torch.txt')]
    await pip(python, ['--target', directory, ...wanted])
    await runOk('python3', [STUBS, directory], running())
    await rm(maker, { recursive: true })
  })
  return { directory, key, builtMs }
}

/** Changes with the pins, the interpreter and, for torch, the program that makes the stubs. */
function keyOf(file: string): string {
  const hash = createHash('sha256')
    .update(readFileSync(join(REQUIREMENTS, file)))
    .update(interpreterTag())
  if (file === 'torch.txt') hash.update(readFileSync(STUBS))
  return hash.digest('hex').slice(0, 12)
}

/** Which python3 it is, by the real path of the program: wheels are made for one version. */
function interpreterTag(): string {
  const found = (process.env.PATH ?? '')
    .split(':')
    .map((part) => join(part, 'python3'))
    .find((path) => existsSync(path))
  if (found === undefined) throw new Error('python3 is not on PATH; the client tests need 3.10+')
  return found
}

async function pip(python: string, args: string[]): Promise<void> {
  const quiet = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input']
  await runOk(python, [...quiet, '--prefer-binary', ...args], running())
}

/** pip needs the machine's own settings (registry, certificates, cache), so nothing is scrubbed. */
function running(): { env: Record<string, string>; deadlineMs: number } {
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined) env[name] = value
  }
  return { env, deadlineMs: INSTALL_DEADLINE_MS }
}

/**
 * Runs `build` unless `directory` was completed before; several test processes take turns by a
 * flock that flock(1) holds for as long as its stdin is open, so a dead process leaves none.
 *
 * @returns milliseconds spent building, 0 if there was nothing to do
 */
async function once(directory: string, build: () => Promise<void>): Promise<number> {
  const mark = join(directory, '.complete')
  if (existsSync(mark)) return 0
  mkdirSync(testCacheDir(), { recursive: true })
  const release = await acquire(`${directory}.lock`)
  try {
    if (existsSync(mark)) return 0
    const begun = performance.now()
    await rm(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    await build()
    await writeFile(`${mark}.new`, `${new Date().toISOString()}\n`)
    await rename(`${mark}.new`, mark)
    const builtMs = performance.now() - begun
    process.stderr.write(`built ${directory} in ${(builtMs / 60_000).toFixed(1)} minutes\n`)
    return builtMs
  } finally {
    release()
  }
}

/** Waits for an exclusive flock on `path`; the returned function lets go of it. */
function acquire(path: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const holder = spawn('flock', [path, 'sh', '-c', 'echo held; cat >/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    holder.once('error', reject)
    holder.once('exit', (code) => reject(new Error(`flock ${path}: exit ${code}`)))
    holder.stdout.once('data', () => resolve(() => holder.stdin.end()))
  })
}
