import { join } from 'node:path'
import { nodePath, type Running, repositoryRoot, runOk, start } from '../support/index.ts'

const pathOf = (program: string) => join(repositoryRoot, 'test/clients-js', `${program}.ts`)

/** Starts one of the JavaScript clients: a process of its own, as a user's program is. */
export function startClient(program: string, args: string[], env: Record<string, string>): Running {
  return start(nodePath(), [pathOf(program), ...args], { env, cwd: '/' })
}

/** Runs one to its end, which must be exit 0, and returns the JSON that it printed. */
export async function runClient(
  program: string,
  args: string[],
  env: Record<string, string>,
): Promise<unknown> {
  const { stdout } = await runOk(nodePath(), [pathOf(program), ...args], { env, cwd: '/' })
  return JSON.parse(stdout)
}
