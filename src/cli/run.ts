import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Command } from 'commander'
import { clientEnvironment } from '../attach/index.ts'
import { isErrno, messageOf } from '../base/index.ts'
import { DEFAULT_MOUNTPOINT, mountOptions, UNMOUNT_TIMEOUT_S } from '../config/index.ts'
import { commitAnswer, leftOutLines } from './commit-result.ts'
import type { Context } from './context.ts'
import { callDaemon } from './daemon-call.ts'
import { tryMountOn } from './locate.ts'
import { type Mounted, mountWith } from './mounting.ts'
import { unmountMount } from './unmounting.ts'

interface Words {
  mount: string
  store?: string
  engine?: string
  gate?: string
  fetchDeadline?: string
}

const NOT_FOUND = 'there is no such command; give one that is in PATH, or its path'
const NO_PROGRAM = 'make it executable with `chmod +x`, or name its interpreter before it'

/** `modelcache run`. */
export function addRun(program: Command, context: Context): void {
  program
    .command('run')
    .summary('run a command with its models in a mount')
    .description(
      'Mounts if needed, runs COMMAND with the environment of `modelcache env`, hands signals on, ' +
        'and commits when it ends, however it ends; unmounts what it mounted. The exit code is the ' +
        'command’s (128 and the signal’s number if one ended it).',
    )
    .argument('<COMMAND...>', 'the command and its arguments, after `--`')
    .option('--mount <DIR>', 'the mountpoint', DEFAULT_MOUNTPOINT)
    .option('--store <DIR>', 'the store, if it must be mounted')
    .option('--engine <NAME>', 'the engine, if it must be mounted')
    .option('--gate <STATE>', 'the gate, if it must be mounted')
    .option('--fetch-deadline <SECONDS>', 'how long a read waits for remote bytes, likewise')
    .passThroughOptions()
    .addHelpText('after', '\nExample:\n  modelcache run --mount ./model_cache -- python load.py')
    .action(async (command: string[], words: Words) => {
      const options = mountOptions(words.mount, words, context.cwd, context.env)
      const mounted = await mountWith(options, context)
      const code = await runCommand(command, mounted.mount.mountpoint, context)
      context.setExitCode(code)
      await finish(mounted, context)
    })
}

/** Runs the command to its end; what cannot be started ends as the shell's would, 126 or 127. */
function runCommand(command: string[], mountpoint: string, context: Context): Promise<number> {
  const [program = '', ...args] = command
  const env = { ...context.env, ...clientEnvironment(mountpoint, context.env) }
  return new Promise((resolve) => {
    const child = spawn(program, args, { env, cwd: context.cwd, stdio: 'inherit' })
    context.takeSignals((signal) => {
      // Keys of a terminal reach the command by themselves: it is in the same process group.
      if (!(context.terminal.hasKeyboard && signal === 'SIGINT')) {
        child.kill(signal)
      }
    })
    child.on('error', (error) => {
      const isMissing = isErrno(error, 'ENOENT', 'ENOTDIR')
      context.terminal.tell(
        `modelcache: run ${program}: ${isMissing ? NOT_FOUND : `${messageOf(error)}; ${NO_PROGRAM}`}`,
      )
      resolve(isMissing ? 127 : 126)
    })
    child.on('exit', (code, signal) => {
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal])
    })
    // Whoever stands in the mount keeps it busy; the command has its own working directory by now.
    process.chdir('/')
  })
}

/** Commits, and unmounts what was mounted here. The command's exit code stands whatever comes. */
async function finish(mounted: Mounted, context: Context): Promise<void> {
  const { terminal } = context
  // The signals that ended the command must not cut the commit short.
  context.takeSignals(() => {})
  try {
    const answer = await commitOrUnmount(mounted, context)
    for (const line of answer === undefined ? [] : leftOutLines(answer)) {
      terminal.tell(line)
    }
  } catch (error) {
    terminal.tell(`modelcache: after the command: ${messageOf(error)}`)
    if (mounted.kind === 'mounted') {
      mounted.keeper.leave()
    }
  }
}

async function commitOrUnmount(mounted: Mounted, context: Context) {
  if (mounted.kind === 'already') {
    const { signal } = context
    return commitAnswer(await callDaemon(mounted.mount.store, 'commit', {}, { signal }))
  }
  const mount = await tryMountOn(mounted.mount.mountpoint, '/')
  if (mount === undefined) {
    return undefined
  }
  const options = { timeoutMs: UNMOUNT_TIMEOUT_S * 1000, force: false }
  const ended = await unmountMount(mount, options, context)
  return ended.kind === 'drained' ? ended.answer : undefined
}
