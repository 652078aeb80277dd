#!/usr/bin/env node
import { constants } from 'node:os'
import { MessageChannel } from 'node:worker_threads'
import { installedPaths, processEnvironment } from '../config/index.ts'
import type { Context } from './context.ts'
import { runProgram } from './program.ts'
import { processTerminal } from './terminal.ts'

/** What ends a program from outside and can be caught. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

async function main(): Promise<number> {
  const env = processEnvironment()
  const cancel = new AbortController()
  let received: number | undefined
  let exitCode = 0
  let listener = (signal: NodeJS.Signals) => {
    received = constants.signals[signal]
    cancel.abort()
  }
  for (const signal of SIGNALS) {
    process.on(signal, (name) => listener(name))
  }
  const context: Context = {
    terminal: processTerminal,
    env,
    cwd: process.cwd(),
    installed: installedPaths(env),
    signal: cancel.signal,
    takeSignals: (next) => {
      listener = next
    },
    setExitCode: (code) => {
      exitCode = code
    },
  }
  await runProgram(process.argv.slice(2), context, () => received)
  return exitCode
}

// Timers of `base` do not keep a process alive, and a command may be waiting for nothing else.
const { port1: held } = new MessageChannel()
held.ref()
held.on('message', () => {})
process.exitCode = await main()
// Standard output is a file, a pipe or a terminal, written to synchronously on Linux: nothing is lost.
process.exit()
