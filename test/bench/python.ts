import { runOk } from '../support/index.ts'

let known: Promise<string> | undefined

/**
 * Where the interpreter that `python3` means is installed, for example `/usr`. What is on PATH may
 * be a script that chooses one, at a cost for each start.
 */
export function pythonPrefix(): Promise<string> {
  known ??= ask()
  return known
}

async function ask(): Promise<string> {
  const env = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/' }
  const { stdout } = await runOk('python3', ['-c', 'import sys; print(sys.base_prefix)'], { env })
  return stdout.trim()
}
