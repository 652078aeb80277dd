import type { Command } from 'commander'
import { wholeNumber } from '../config/index.ts'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

const MAX_LIMIT = 4096
/** A screen of names says what is wrong; `--json` has more. */
const SHOWN_MISSING = 5

/** `modelcache log`. */
export function addLog(program: Command, context: Context): void {
  program
    .command('log')
    .summary('list the roots of a mount, newest first')
    .description(
      'Lists the roots that were made of the mount on DIR, newest first: the CID, when it was made, ' +
        'and whether it is current, kept or pinned. Of a kept root it names the files whose bytes are ' +
        'not on this machine: never fetched, or overwritten in place since. Only kept roots can be gone ' +
        'back to.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--limit <N>', 'the newest N', '100')
    .option(
      '--json',
      'answer [{"root", "tree", "at", "sequence", "current", "kept", "pinned", "adopted", "missing"}]',
    )
    .addHelpText('after', '\nExample:\n  modelcache log ./model_cache --limit 5')
    .action(async (directory: string, words: { json?: boolean; limit: string }) => {
      const limit = wholeNumber('--limit', words.limit, 1, MAX_LIMIT)
      const { mount } = await locate(directory, context.cwd)
      const { signal, terminal } = context
      const answer = await callDaemon(mount.store, 'log', { limit }, { signal })
      const lines = DaemonAnswer.list(answer).flatMap(linesOf)
      answerFacts(terminal, words.json, answer, lines)
    })
}

function linesOf(entry: DaemonAnswer): string[] {
  const missing = entry.texts('missing')
  const words = [
    ...(['current', 'kept', 'pinned', 'adopted'] as const).filter((word) => entry.flag(word)),
    ...(missing.length === 0 ? [] : ['incomplete']),
  ]
  const named = missing.slice(0, SHOWN_MISSING).map((path) => `  not here: ${path}`)
  const rest = missing.length - named.length
  return [
    `${entry.text('root')}  ${entry.text('at')}  ${words.join(', ')}`.trimEnd(),
    ...named,
    ...(rest > 0 ? [`  not here: ${rest} more`] : []),
  ]
}
