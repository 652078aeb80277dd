import type { Command } from 'commander'
import { DEFAULT_MOUNTPOINT, storeOption } from '../config/index.ts'
import type { Context } from './context.ts'
import { type Finding, findAll } from './doctor-checks.ts'
import { answerFacts } from './terminal.ts'

/** `modelcache doctor`. */
export function addDoctor(program: Command, context: Context): void {
  program
    .command('doctor')
    .summary('say what this machine can do, and the remedy for what it cannot')
    .description('Looks at the machine in under five seconds, without mounting.')
    .argument('[DIR]', 'the mountpoint that is meant', DEFAULT_MOUNTPOINT)
    .option('--store <DIR>', 'the store that is meant')
    .option('--json', 'answer [{"check", "state", "detail", "remedy"}]')
    .addHelpText('after', '\nExample:\n  modelcache doctor')
    .action(async (directory: string, words: { store?: string; json?: boolean }) => {
      const store = words.store === undefined ? undefined : storeOption(words.store, context.cwd)
      const findings = await findAll(directory, store, context)
      answerFacts(context.terminal, words.json, findings, findings.map(findingLine))
      if (findings.some(({ state }) => state === 'fail')) {
        context.setExitCode(5)
      }
    })
}

function findingLine({ check, state, detail, remedy }: Finding): string {
  const line = `${state.padEnd(5)}${check.padEnd(14)}${detail}`
  return remedy === '' ? line : `${line}\n${' '.repeat(19)}${remedy}`
}
