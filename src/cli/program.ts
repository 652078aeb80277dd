import { Command, CommanderError } from 'commander'
import { isAbort, ModelcacheError, messageOf, redact } from '../base/index.ts'
import { addCid } from './cid.ts'
import { addCommit } from './commit.ts'
import type { Context } from './context.ts'
import { addDoctor } from './doctor.ts'
import { addEnv } from './env.ts'
import { addExport } from './export.ts'
import { addGc } from './gc.ts'
import { addInfer } from './infer.ts'
import { addLog } from './log.ts'
import { addMount } from './mount.ts'
import { addPin } from './pin.ts'
import { addRestore } from './restore.ts'
import { addRun } from './run.ts'
import { addShare } from './share.ts'
import { addStatus } from './status.ts'
import { addUnmount } from './unmount.ts'
import { addVerify } from './verify.ts'

const EXIT_CODES = `
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 unmounted with dirty data kept; 4 not settled;
5 a capability of this machine is missing (the message names it and the remedy).`

/** The whole command line. */
export function createProgram(context: Context): Command {
  const program = new Command('modelcache')
    .description('An ordinary directory for machine-learning model caches, kept in IPFS.')
    .version(context.installed.version)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.terminal.answer(text.trimEnd()),
      writeErr: (text) => context.terminal.tell(text.trimEnd()),
      // Said by `runProgram`, in one line.
      outputError: () => {},
    })
    .addHelpText('after', EXIT_CODES)
  const commands = [
    addMount,
    addUnmount,
    addStatus,
    addCommit,
    addCid,
    addLog,
    addRestore,
    addPin,
    addVerify,
    addGc,
    addExport,
    addShare,
    addEnv,
    addRun,
    addInfer,
    addDoctor,
  ]
  for (const add of commands) {
    add(program, context)
  }
  return program
}

/**
 * Runs one command line; every error becomes one line on standard error and an exit code.
 *
 * @param words - without the program's name
 * @param cancelled - the signal that ended the wait, if one did
 */
export async function runProgram(
  words: readonly string[],
  context: Context,
  cancelled: () => number | undefined,
): Promise<void> {
  const program = createProgram(context)
  try {
    await program.parseAsync(words, { from: 'user' })
  } catch (error) {
    const signalNumber = cancelled()
    if (error instanceof CommanderError) {
      endUsage(error, words, program, context)
    } else if (signalNumber !== undefined && (isAbort(error) || context.signal.aborted)) {
      context.terminal.tell('modelcache: interrupted')
      context.setExitCode(128 + signalNumber)
    } else {
      // Ours are worded for people, without secrets; what others throw may show an address.
      const own = error instanceof ModelcacheError
      context.terminal.tell(`modelcache: ${own ? error.message : redact(messageOf(error))}`)
      context.setExitCode(own ? (error.exitCode ?? 1) : 1)
    }
  }
}

/** Commander says `error: …` and its suggestion in two lines; help that was asked for is no error. */
function endUsage(
  error: CommanderError,
  words: readonly string[],
  program: Command,
  context: Context,
): void {
  if (error.exitCode === 0) {
    return
  }
  context.setExitCode(2)
  if (error.code === 'commander.help') {
    // No command was given; the help has been shown already.
    return
  }
  const reason = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  const command = program.commands.find((known) => known.name() === words[0])
  const help = command === undefined ? '--help' : `${command.name()} --help`
  const hint = reason.includes('Did you mean') ? '' : `; see \`modelcache ${help}\``
  context.terminal.tell(`modelcache: ${reason}${hint}`)
}
