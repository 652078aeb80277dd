import type { Command } from 'commander'
import { shQuoted } from '../attach/index.ts'
import { ModelcacheError } from '../base/index.ts'
import {
  DEFAULT_MOUNTPOINT,
  ENGINE_WISHES,
  FETCH_DEADLINE_S,
  type MountOptions,
  mountOptions,
  type RawMountOptions,
} from '../config/index.ts'
import type { Context } from './context.ts'
import { statusOf } from './mount-status.ts'
import { type Mounted, mountWith } from './mounting.ts'
import { engineText } from './status-page.ts'
import { answerFacts } from './terminal.ts'

interface Words extends RawMountOptions {
  json?: boolean
  welcome?: boolean
}

/** `modelcache mount`. */
export function addMount(program: Command, context: Context): void {
  const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value]
  program
    .command('mount')
    .summary('mount a directory; returns when it can be used')
    .description('Mounts DIR and returns when the first `ls` would answer.')
    .argument('[DIR]', 'the mountpoint, an empty directory', DEFAULT_MOUNTPOINT)
    .option('--store <DIR>', 'where the files are kept (default: below XDG_DATA_HOME)')
    .option('--engine <NAME>', `${ENGINE_WISHES.join(', ')}`, 'auto')
    .option(
      '--from <ROOT>',
      'open this root: a commit, a bare UnixFS directory, or a CAR file with one',
    )
    .option('--peer <ADDRESS>', 'fetch from this share; may be repeated', collect)
    .option('--read-only', 'refuse every change with EROFS')
    .option('--allow-other', 'let other users in too')
    .option(
      '--local-only <PATTERN>',
      'names that never leave this machine, as in .gitignore; kept with the store; may be repeated',
      collect,
    )
    .option(
      '--keep-roots <N>',
      'keep what the newest N roots need (1 at first); kept with the store',
    )
    .option('--gate <STATE>', 'open, closed, or auto: as the environment says', 'auto')
    .option(
      '--fetch-deadline <SECONDS>',
      'how long a read waits for remote bytes',
      String(FETCH_DEADLINE_S),
    )
    .option('--foreground', 'stay until the mount ends; Ctrl-C unmounts')
    .option('--json', 'answer in JSON')
    .option('--welcome', 'say what it is and how to use it; fine if it is mounted already')
    .addHelpText(
      'after',
      `
Examples:
  modelcache mount ./model_cache
  modelcache mount ./copy --store ~/copy.store --from bafy… --peer http://127.0.0.1:4711/t/TOKEN
  modelcache mount ./copy --from ./cache.car`,
    )
    .action(async (directory: string, words: Words) => {
      const options = mountOptions(directory, words, context.cwd, context.env)
      const mounted = await mountWith(options, context)
      if (mounted.kind === 'already' && !words.welcome) {
        throw new ModelcacheError(
          `mountpoint ${mounted.mount.mountpoint} is mounted already, by engine ` +
            `${mounted.mount.engine} on store ${mounted.mount.store}; unmount it first, or use it`,
          { code: 'already-mounted', exitCode: 1 },
        )
      }
      await answer(mounted, words, options, context)
      if (mounted.kind === 'mounted') {
        await leaveOrStay(mounted, options, context)
      }
    })
}

async function answer(
  mounted: Mounted,
  words: Words,
  options: MountOptions,
  context: Context,
): Promise<void> {
  const { mountpoint, store, engine } = mounted.mount
  if (words.welcome && !words.json) {
    for (const line of await welcome(mounted, context)) {
      context.terminal.answer(line)
    }
    return
  }
  const facts = {
    mountpoint,
    store,
    engine,
    gate: options.gate,
    ...(mounted.kind === 'mounted'
      ? { keeperPid: mounted.keeper.pid, passthrough: mounted.keeper.passthrough }
      : {}),
  }
  answerFacts(context.terminal, words.json, facts, [`mounted ${mountpoint}`])
}

/** What somebody sees who typed `npm start`: what this is, and the one line that uses it. */
async function welcome(mounted: Mounted, context: Context): Promise<string[]> {
  const { mountpoint, store } = mounted.mount
  const status = await statusOf(mounted.mount, context)
  return [
    `${mountpoint} ${mounted.kind === 'already' ? 'is mounted already' : 'is mounted'}: an ordinary ` +
      'directory for model caches, kept in IPFS.',
    `  store   ${store}`,
    `  root    ${status.root.cid || 'none yet: the first commit makes it'}`,
    `  engine  ${engineText(status)}`,
    `  gate    ${status.gate.open ? 'open' : `closed by ${status.gate.by}: commits stay on this machine`}`,
    'Programs use it with',
    `  export HF_HOME=${shQuoted(mountpoint)}`,
    'and `npm stop` commits and unmounts.',
  ]
}

/** In the foreground, Ctrl-C and SIGTERM mean unmount, and the keeper does it. */
async function leaveOrStay(
  mounted: Extract<Mounted, { kind: 'mounted' }>,
  options: MountOptions,
  context: Context,
): Promise<void> {
  const { keeper } = mounted
  if (!options.foreground) {
    keeper.leave()
    return
  }
  context.takeSignals(() => process.kill(keeper.pid, 'SIGTERM'))
  context.setExitCode(await keeper.ended)
}
