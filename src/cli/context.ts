import type { ExitCode } from '../base/index.ts'
import type { Environment, InstalledPaths } from '../config/index.ts'
import type { Terminal } from './terminal.ts'

/** What every command gets of the process that it runs in. */
export interface Context {
  readonly terminal: Terminal
  readonly env: Environment
  readonly cwd: string
  readonly installed: InstalledPaths
  /** Aborts at SIGINT, SIGTERM and SIGHUP. `run` hands signals on instead. */
  readonly signal: AbortSignal
  /** Calls `listener` for these signals from now on, in place of aborting `signal`. */
  takeSignals(listener: (signal: NodeJS.Signals) => void): void
  /** What the process ends with, when the command returns without an error. */
  setExitCode(code: ExitCode | number): void
}
