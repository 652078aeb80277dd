import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import { repositoryRoot, run, runOk } from '../support/index.ts'
import type { Machine } from './result.ts'

/** What the figures depend on; `load` is taken now and again by {@link withLoad}. */
export async function describeMachine(directory: string): Promise<Machine> {
  const one = cpus()[0]?.model.trim() || arch()
  return {
    kernel: release(),
    cpus: `${cpus().length} × ${one}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    fileSystem: (await lines('findmnt', ['-n', '-o', 'FSTYPE', '-T', directory])).trim(),
    load: { start: loadNow(), end: loadNow() },
    versions: {
      node: process.version,
      python: (await lines('python3', ['--version'])).trim().replace('Python ', ''),
      os: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    },
  }
}

export function withLoad(machine: Machine): Machine {
  return { ...machine, load: { ...machine.load, end: loadNow() } }
}

/** HEAD, with `+` where code that runs in the measures differs from it; `unknown` outside of git. */
export async function describeCommit(): Promise<string> {
  const git = (...args: string[]) => run('git', ['-C', repositoryRoot, ...args], { env: env() })
  const head = await git('rev-parse', '--short=12', 'HEAD')
  if (head.code !== 0) return 'unknown'
  const changed = await git('status', '--porcelain', '--', 'src', 'native', 'package-lock.json')
  return changed.stdout.trim() === '' ? head.stdout.trim() : `${head.stdout.trim()}+`
}

function loadNow(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100
}

async function lines(command: string, args: string[]): Promise<string> {
  return (await runOk(command, args, { env: env() })).stdout
}

function env(): Record<string, string> {
  return { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/' }
}
