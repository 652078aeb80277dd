import type { Command } from 'commander'
import { commitAnswer, leftOutLines } from './commit-result.ts'
import type { Context } from './context.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

/** `modelcache commit`. */
export function addCommit(program: Command, context: Context): void {
  program
    .command('commit')
    .summary('make a root of everything that is settled, and print it')
    .description(
      'Settles what can be settled now and prints the root. On standard error it lists what is ' +
        'still open, which comes into a later root, and what is withheld: damaged files and ' +
        'secrets, which never come into one. `changed` is false when the root is the one before.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--json', 'answer {"root", "tree", "dirty", "open", "withheld", "changed"}')
    .addHelpText('after', '\nExample:\n  modelcache commit ./model_cache')
    .action(async (directory: string, words: { json?: boolean }) => {
      const { mount } = await locate(directory, context.cwd)
      const { signal, terminal } = context
      const answer = commitAnswer(await callDaemon(mount.store, 'commit', {}, { signal }))
      for (const line of leftOutLines(answer)) {
        terminal.tell(line)
      }
      answerFacts(terminal, words.json, answer, [answer.root])
    })
}
