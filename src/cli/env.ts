import { resolve } from 'node:path'
import type { Command } from 'commander'
import { clientEnvironment, SHELLS, shellText, shQuoted } from '../attach/index.ts'
import { oneOf, shown } from '../config/index.ts'
import type { Context } from './context.ts'
import { tryMountOn, tryRealPath } from './locate.ts'

/** `modelcache env`. */
export function addEnv(program: Command, context: Context): void {
  program
    .command('env')
    .summary('print the environment that sends programs into a mount')
    .description(
      'Prints variables that make every client keep its models in DIR, and its secrets and ' +
        'scratch files where they were.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--shell <NAME>', SHELLS.join(', '), 'sh')
    .option('--json', 'the same as --shell json')
    .addHelpText(
      'after',
      `
Examples:
  eval "$(modelcache env ./model_cache)"
  modelcache env ./model_cache --shell fish | source`,
    )
    .action(async (directory: string, words: { shell: string; json?: boolean }) => {
      const shell = words.json ? 'json' : oneOf('--shell', words.shell, SHELLS)
      const mount = await tryMountOn(directory, context.cwd)
      if (mount === undefined) {
        context.terminal.tell(
          `warning: ${shown(directory)} is not mounted now; ` +
            `\`modelcache mount ${shQuoted(directory)}\` mounts it`,
        )
      }
      const place =
        mount?.mountpoint ??
        (await tryRealPath(directory, context.cwd)) ??
        resolve(context.cwd, directory)
      context.terminal.answer(shellText(clientEnvironment(place, context.env), shell))
    })
}
