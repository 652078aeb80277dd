import { launcherPath, nodePath, type RunOptions, runOk } from '../support/index.ts'
import type { Narrator } from './narrator.ts'

/** Longest single command of the tour on a slow machine, with room. */
const COMMAND_DEADLINE_MS = 60_000

/** Runs commands as a user would type them, and tells them. */
export class Commands {
  readonly #narrator: Narrator
  readonly #options: RunOptions
  readonly #signal: AbortSignal

  /** @param env the environment of every command, without what would close the gate */
  constructor(narrator: Narrator, env: Record<string, string>, cwd: string, signal: AbortSignal) {
    this.#narrator = narrator
    this.#options = { env, cwd, deadlineMs: COMMAND_DEADLINE_MS }
    this.#signal = signal
  }

  /** `modelcache WORDS…`. @returns its stdout. @throws Error with what it said, unless it exits 0 */
  async modelcache(...words: string[]): Promise<string> {
    // Commands run in the tour's directory, so the short form is what a user there would type.
    const typed = words.map((word) => word.replace(`${this.#options.cwd}/`, ''))
    this.#narrator.command(['modelcache', ...typed])
    return await this.quietly(...words)
  }

  /** `modelcache WORDS… --json`, parsed. */
  async modelcacheJson<T>(...words: string[]): Promise<T> {
    const answer: T = JSON.parse(await this.modelcache(...words, '--json'))
    return answer
  }

  /** As `modelcache`, without a word to the reader. */
  async quietly(...words: string[]): Promise<string> {
    this.#signal.throwIfAborted()
    return await this.atLast(...words)
  }

  /** As `quietly`, and also after the tour was interrupted: for what must be cleaned up. */
  async atLast(...words: string[]): Promise<string> {
    const { stdout } = await runOk(nodePath(), [launcherPath(), ...words], this.#options)
    return stdout
  }

  /** A TypeScript program of the project, its answer parsed. */
  async script<T>(path: string, ...words: string[]): Promise<T> {
    this.#signal.throwIfAborted()
    const { stdout } = await runOk(nodePath(), [path, ...words], this.#options)
    const answer: T = JSON.parse(stdout)
    return answer
  }
}
