import type { Command } from 'commander'
import { ModelcacheError } from '../base/index.ts'
import type { Context } from './context.ts'
import { callDaemon } from './daemon-call.ts'
import { type Located, locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

interface PathCid {
  readonly path: string
  readonly cid: string
}

/** `modelcache cid`. */
export function addCid(program: Command, context: Context): void {
  program
    .command('cid')
    .summary('print the CID of files and directories in a mount')
    .description(
      'Prints the UnixFS CID of each PATH, links followed: alone for one path, with the path for ' +
        'several. Exit code 4: it is not settled.',
    )
    .argument('<PATH...>', 'files or directories in a mount')
    .option('--json', 'answer [{"path", "cid"}]')
    .addHelpText('after', '\nExample:\n  modelcache cid ./model_cache/hub')
    .action(async (paths: string[], words: { json?: boolean }) => {
      const answers: PathCid[] = []
      for (const [store, group] of await byStore(paths, context)) {
        answers.push(...(await cidsOf(store, group, context)))
      }
      const inOrder = paths.map((path) => ({ path, cid: cidFor(path, answers) }))
      const lines = inOrder.map(({ path, cid }) => (paths.length === 1 ? cid : `${cid}  ${path}`))
      answerFacts(context.terminal, words.json, inOrder, lines)
    })
}

interface Asked extends Located {
  /** As it was given. */
  readonly path: string
}

async function byStore(paths: string[], context: Context): Promise<Map<string, Asked[]>> {
  const groups = new Map<string, Asked[]>()
  for (const path of paths) {
    const asked = { path, ...(await locate(path, context.cwd)) }
    const { store } = asked.mount
    groups.set(store, [...(groups.get(store) ?? []), asked])
  }
  return groups
}

/** The daemon knows paths of the tree; the answer has those that were given. */
async function cidsOf(store: string, group: Asked[], context: Context): Promise<PathCid[]> {
  const paths = group.map(({ inside }) => inside)
  const answer = await callDaemon(store, 'cid', { paths }, { signal: context.signal })
  if (!Array.isArray(answer)) {
    throw badAnswer()
  }
  return group.map(({ path }, index) => {
    const cid: unknown = answer[index]?.cid
    if (typeof cid !== 'string') {
      throw badAnswer()
    }
    return { path, cid }
  })
}

function cidFor(path: string, answers: PathCid[]): string {
  const found = answers.find((answer) => answer.path === path)
  if (found === undefined) {
    throw badAnswer()
  }
  return found.cid
}

function badAnswer(): ModelcacheError {
  return new ModelcacheError('the daemon’s answer lacks a CID: it is of another version', {
    code: 'bad-answer',
    exitCode: 1,
  })
}
