import type { Command } from 'commander'
import { rootOption, usageError } from '../config/index.ts'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

interface Words {
  root?: string
  json?: boolean
}

/** `modelcache pin` and `modelcache unpin`, of roots. */
export function addPin(program: Command, context: Context): void {
  program
    .command('pin')
    .summary('keep a root, until it is unpinned')
    .description(
      'Keeps what the root needs, however many roots follow it. It costs the bytes of the files that ' +
        'were removed or replaced since. Files that are overwritten in place are lost to it all the same.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--root <ROOT>', 'a root that `modelcache log` lists')
    .option('--json', 'answer {"root", "pinned"}')
    .addHelpText('after', '\nExample:\n  modelcache pin ./model_cache --root bafy…')
    .action((directory: string, words: Words) => change('pin', directory, words, context))
  program
    .command('unpin')
    .summary('keep a pinned root no longer')
    .description('What only this root needs is dropped by the next commit, or by `modelcache gc`.')
    .argument('<DIR>', 'a mountpoint')
    .option('--root <ROOT>', 'a root that is pinned')
    .option('--json', 'answer {"root", "pinned", "changed"}')
    .addHelpText('after', '\nExample:\n  modelcache unpin ./model_cache --root bafy…')
    .action((directory: string, words: Words) => change('unpin', directory, words, context))
}

async function change(
  op: 'pin' | 'unpin',
  directory: string,
  words: Words,
  { cwd, signal, terminal }: Context,
): Promise<void> {
  if (words.root === undefined) {
    throw usageError(`${op}: name the root with --root; \`modelcache log\` lists them`)
  }
  const root = rootOption(words.root)
  const { mount } = await locate(directory, cwd)
  const answer = await callDaemon(mount.store, op, { root }, { signal })
  const done = op === 'pin' ? 'pinned' : 'unpinned'
  answerFacts(terminal, words.json, answer, [`${done} ${new DaemonAnswer(answer).text('root')}`])
}
