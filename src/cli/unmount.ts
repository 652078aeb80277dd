import { lstat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { isErrno, messageOf } from '../base/index.ts'
import { MAX_TIMEOUT_S, seconds, shown, UNMOUNT_TIMEOUT_S } from '../config/index.ts'
import { type CommitAnswer, leftOutLines } from './commit-result.ts'
import type { Context } from './context.ts'
import { findMountOn, tryMountOn } from './locate.ts'
import { answerFacts, countText } from './terminal.ts'
import { type Unmounted, unmountMount } from './unmounting.ts'

interface Words {
  timeout: string
  force?: boolean
  json?: boolean
}

/** `modelcache unmount`. */
export function addUnmount(program: Command, context: Context): void {
  program
    .command('unmount')
    .alias('umount')
    .summary('commit, drain and unmount; prints the root')
    .description(
      'Commits, drains, unmounts and prints the root. Exit code 3: unmounted, and what is listed ' +
        'is dirty and kept for the next mount.',
    )
    .argument('<DIR>', 'a mountpoint')
    .option('--timeout <SECONDS>', 'how long to drain', String(UNMOUNT_TIMEOUT_S))
    .option('--force', 'take the mount away also if it is held, or its keeper is silent')
    .option('--json', 'answer {"root", "tree", "dirty", "open", "withheld"}')
    .addHelpText('after', '\nExample:\n  modelcache unmount ./model_cache')
    .action(async (directory: string, words: Words) => {
      const timeoutMs = seconds('--timeout', words.timeout, 0, MAX_TIMEOUT_S) * 1000
      const mount = await tryMountOn(directory, context.cwd)
      if (mount === undefined) {
        context.terminal.tell(`${shown(directory)} ${await absence(directory, context.cwd)}`)
        answerFacts(context.terminal, words.json, NOTHING, [])
        return
      }
      // Whoever stands in the mount keeps it busy, and that must not be this process.
      process.chdir('/')
      const options = { timeoutMs, force: words.force ?? false }
      const ended = await unmountMount(mount, options, context)
      report(ended, mount.store, words, context)
    })
}

/** The answer where there was nothing to unmount. */
const NOTHING: CommitAnswer = { root: '', tree: '', dirty: 0, open: [], withheld: [] }

/** Why a directory cannot be unmounted. */
async function absence(directory: string, cwd: string): Promise<string> {
  const path = resolve(cwd, directory)
  const entry = (await findMountOn(path))?.entry
  if (entry !== undefined) {
    return `is no mount of modelcache, but one of type ${entry.type}`
  }
  try {
    await lstat(path)
    return 'is not mounted'
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      return 'does not exist'
    }
    return `is not mounted, as far as this user can see (${messageOf(error)})`
  }
}

function report(ended: Unmounted, store: string, words: Words, context: Context): void {
  const { terminal } = context
  if (ended.kind === 'stale') {
    terminal.tell(
      ended.dirty
        ? `it had died; what was not committed is kept in ${store} for the next mount`
        : 'it had died; nothing was left to commit',
    )
    // The daemon, which could have counted, is dead.
    answerFacts(terminal, words.json, { ...NOTHING, dirty: ended.dirty ? null : 0 }, [])
    context.setExitCode(ended.dirty ? 3 : 0)
    return
  }
  const { answer } = ended
  for (const line of leftOutLines(answer)) {
    terminal.tell(line)
  }
  answerFacts(terminal, words.json, answer, [answer.root])
  if (answer.dirty > 0) {
    terminal.tell(
      `${countText(answer.dirty, 'file is', 'files are')} dirty and kept for the next mount`,
    )
    context.setExitCode(3)
  }
}
