import type { Command } from 'commander'
import { delay, isAbort, ModelcacheError } from '../base/index.ts'
import { shown, WATCH_INTERVAL_MS } from '../config/index.ts'
import type { Context } from './context.ts'
import { knownMounts } from './known-mounts.ts'
import { tryMountOn } from './locate.ts'
import { type MountStatus, statusOf } from './mount-status.ts'
import type { OwnMount } from './own-mounts.ts'
import { statusPage } from './status-page.ts'

interface Words {
  json?: boolean
  watch?: boolean
}

/** `modelcache status`. */
export function addStatus(program: Command, context: Context): void {
  program
    .command('status')
    .summary('say what a mount, or every mount, is doing')
    .description('Says what the mount on DIR is doing, or all mounts of this machine.')
    .argument('[DIR]', 'a mountpoint')
    .option('--json', 'one object; without DIR a list of them')
    .option('--watch', 'redraw every second until Ctrl-C')
    .addHelpText(
      'after',
      `
Examples:
  modelcache status
  modelcache status ./model_cache --json`,
    )
    .action(async (directory: string | undefined, words: Words) => {
      if (!words.watch) {
        await show(directory, words, context)
        return
      }
      await watch(directory, words, context)
    })
}

/** Until Ctrl-C, which ends it as asked. */
async function watch(directory: string | undefined, words: Words, context: Context): Promise<void> {
  const ended = new AbortController()
  context.takeSignals(() => ended.abort())
  try {
    for (;;) {
      context.terminal.clear()
      await show(directory, words, { ...context, signal: ended.signal })
      await delay(WATCH_INTERVAL_MS, ended.signal)
    }
  } catch (error) {
    if (!(ended.signal.aborted && isAbort(error))) {
      throw error
    }
  }
}

async function show(directory: string | undefined, words: Words, context: Context): Promise<void> {
  const mounts = await asked(directory, context)
  const all: MountStatus[] = []
  for (const mount of mounts) {
    all.push(await statusOf(mount, context))
  }
  const { terminal } = context
  if (words.json) {
    terminal.answer(JSON.stringify(directory === undefined ? all : all[0], null, 2))
    return
  }
  if (all.length === 0) {
    terminal.answer('nothing is mounted')
  }
  for (const [index, status] of all.entries()) {
    for (const line of [...(index === 0 ? [] : ['']), ...statusPage(status)]) {
      terminal.answer(line)
    }
  }
}

async function asked(directory: string | undefined, context: Context): Promise<OwnMount[]> {
  if (directory === undefined) {
    return knownMounts(context.env)
  }
  const mount = await tryMountOn(directory, context.cwd)
  if (mount === undefined) {
    throw new ModelcacheError(
      `${shown(directory)} is not mounted; mount it with \`modelcache mount\``,
      { code: 'not-mounted', exitCode: 1 },
    )
  }
  return [mount]
}
