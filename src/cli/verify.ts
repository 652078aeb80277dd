import type { Command } from 'commander'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts, countText, sizeText } from './terminal.ts'

/** `modelcache verify`. */
export function addVerify(program: Command, context: Context): void {
  program
    .command('verify')
    .summary('hash everything again, and heal what can be healed')
    .description(
      'Hashes every settled file, every node and what is present of every remote file, and looks ' +
        'whether the current root is complete. What a --peer has, or can be made again, is healed; the ' +
        'rest is named, and the exit code is 1. Programs go on meanwhile.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--json', 'answer {"counts", "findings", "found", "broken", "incompleteRoots"}')
    .addHelpText('after', '\nExample:\n  modelcache verify ./model_cache')
    .action(async (directory: string, words: { json?: boolean }) => {
      const { mount } = await locate(directory, context.cwd)
      const { signal, terminal } = context
      const answer = await callDaemon(
        mount.store,
        'verify',
        {},
        {
          signal,
          onProgress: (counts) => terminal.tell(countsText(new DaemonAnswer(counts))),
        },
      )
      const report = new DaemonAnswer(answer)
      const broken = report.number('broken')
      answerFacts(terminal, words.json, answer, linesOf(report))
      context.setExitCode(broken === 0 ? 0 : 1)
    })
}

function linesOf(report: DaemonAnswer): string[] {
  const found = report.number('found')
  const broken = report.number('broken')
  const findings = report.list('findings').map((finding) => {
    const state = finding.flag('healed') ? 'healed' : 'damaged'
    return `${state}: ${finding.text('path')}: ${finding.text('what')}`
  })
  const roots = report.list('incompleteRoots').map((root) => {
    const missing = root.texts('missing')
    return `incomplete: root ${root.text('root')}: overwritten or never fetched: ${missing.join(', ')}`
  })
  const outcome =
    found === 0 ? 'nothing is wrong' : `${found - broken} of ${countText(found, 'finding')} healed`
  return [...findings, ...roots, `${countsText(report.part('counts'))}: ${outcome}`]
}

function countsText(counts: DaemonAnswer): string {
  const files = countText(counts.number('files'), 'file')
  const nodes = countText(counts.number('nodes'), 'node')
  const remote = countText(counts.number('placeholders'), 'remote file')
  return `verified ${files}, ${remote} and ${nodes}, ${sizeText(counts.number('bytes'))}`
}
