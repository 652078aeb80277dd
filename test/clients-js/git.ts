import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runOk, scrubbedEnvironment } from '../support/index.ts'

/** Runs git in a directory and returns its standard output; fails on any other exit code than 0. */
export type Git = (directory: string, ...args: string[]) => Promise<string>

/** Fixed, so that the same story makes the same objects everywhere. */
const WHO = { NAME: 'A Tester', EMAIL: 'tester@example.invalid', DATE: '2026-01-02T03:04:05+0000' }

/** One thread, so that packs are the same bytes; nothing expires by the day of the test. */
const CONFIGURATION = `[init]
\tdefaultBranch = main
[pack]
\tthreads = 1
[gc]
\tauto = 0
\treflogExpire = never
\treflogExpireUnreachable = never
[advice]
\tdetachedHead = false
`

/**
 * An environment for git whose configuration is only what stands here.
 *
 * @param home a directory of the test's own, outside of what is compared
 */
export function gitEnvironment(home: string, configuration = ''): Record<string, string> {
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, '.gitconfig'), CONFIGURATION + configuration)
  const identity = Object.entries(WHO).flatMap(([name, value]) => [
    [`GIT_AUTHOR_${name}`, value],
    [`GIT_COMMITTER_${name}`, value],
  ])
  return scrubbedEnvironment(home, {
    ...Object.fromEntries(identity),
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
  })
}

/** @param env of {@link gitEnvironment} */
export function gitWith(env: Record<string, string>): Git {
  return async (directory, ...args) =>
    (await runOk('git', ['-C', directory, ...args], { env })).stdout
}

/**
 * What differs between two places although git did the same: the index has inode numbers and
 * times, and a worktree and its repository know each other by absolute paths.
 */
export function isBoundToPlace(path: string): boolean {
  return /(^|\/)\.git(\/.*)?\/(index|gitdir)$/.test(path) || /(^|\/)worktree\/\.git$/.test(path)
}
