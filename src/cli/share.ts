import type { Command } from 'commander'
import { ModelcacheError } from '../base/index.ts'
import type { Context } from './context.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

/** `modelcache share`. */
export function addShare(program: Command, context: Context): void {
  program
    .command('share')
    .summary('serve a mount to others, and print the address')
    .description(
      'Serves the roots of the mount on DIR over HTTP on this machine and prints the address that ' +
        '`mount --peer` takes. Who has the address, with the token in it, can read.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--json', 'answer {"name", "address", "addresses"}')
    .addHelpText('after', '\nExample:\n  modelcache share ./model_cache')
    .action(async (directory: string, words: { json?: boolean }) => {
      const { mount } = await locate(directory, context.cwd)
      const answer = await callDaemon(mount.store, 'share', {}, { signal: context.signal })
      answerFacts(context.terminal, words.json, answer, [addressOf(answer)])
    })
}

function addressOf(answer: unknown): string {
  if (
    typeof answer === 'object' &&
    answer !== null &&
    'address' in answer &&
    typeof answer.address === 'string'
  ) {
    return answer.address
  }
  throw new ModelcacheError('the daemon’s answer has no address: it is of another version', {
    code: 'bad-answer',
    exitCode: 1,
  })
}
