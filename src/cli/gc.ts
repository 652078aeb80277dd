import type { Command } from 'commander'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts, countText, sizeText } from './terminal.ts'

/** `modelcache gc`. */
export function addGc(program: Command, context: Context): void {
  program
    .command('gc')
    .summary('drop what no kept root needs')
    .description(
      'Commits, and drops the files and directory nodes that neither the tree nor a kept root needs. ' +
        'Files are dropped by every commit, too; nodes of earlier roots only by this. It may be ' +
        'interrupted at any time.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--json', 'answer {"root", "blocks", "bytes", "retainedFiles"}')
    .addHelpText('after', '\nExample:\n  modelcache gc ./model_cache')
    .action(async (directory: string, words: { json?: boolean }) => {
      const { mount } = await locate(directory, context.cwd)
      const { signal, terminal } = context
      const answer = await callDaemon(mount.store, 'gc', {}, { signal })
      const fields = new DaemonAnswer(answer)
      const retained = fields.number('retainedFiles')
      answerFacts(terminal, words.json, answer, [
        `dropped ${countText(fields.number('blocks'), 'node')}, ${sizeText(fields.number('bytes'))}`,
        ...(retained === 0 ? [] : [`kept for older roots: ${countText(retained, 'removed file')}`]),
      ])
    })
}
