import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  type Finished,
  makeTempDir,
  nodePath,
  removeTempDir,
  repositoryRoot,
  run,
  scrubbedEnvironment,
} from '../support/index.ts'

/** The command line run from its sources, in a folder and a home of the test's own. */
export interface Shell {
  readonly base: string
  readonly env: Record<string, string>
  run(args: string[], env?: Record<string, string>): Promise<Finished>
}

/** The program that is tested; its daemon would be the sources' too. */
export const MAIN = join(repositoryRoot, 'src/cli/main.ts')

/**
 * A temporary folder to run commands in, removed when the test ends.
 *
 * @param before - runs before the folder is removed, also when the test failed
 */
export function shell(t: TestContext, before: () => Promise<void> = async () => {}): Shell {
  const base = makeTempDir('modelcache-cli-')
  t.after(async () => {
    await before()
    await removeTempDir(base)
  })
  const env = scrubbedEnvironment(join(base, 'home'))
  return {
    base,
    env,
    run: (args, extra = {}) =>
      run(nodePath(), [MAIN, ...args], { env: { ...env, ...extra }, cwd: base }),
  }
}
