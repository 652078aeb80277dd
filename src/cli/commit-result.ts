import { ModelcacheError } from '../base/index.ts'

/** A file that is not in the root, and why. */
export interface LeftOut {
  readonly path: string
  readonly reason: string
}

/** What a commit came to: the answer of `commit` and `unmount`. */
export interface CommitAnswer {
  readonly root: string
  readonly tree: string
  /** How many files are dirty still. */
  readonly dirty: number
  /** What could not be settled, because a program has it open for writing. */
  readonly open: readonly LeftOut[]
  /** What looks like a secret or is not what its name promises. */
  readonly withheld?: readonly LeftOut[]
  /** `commit` only: false when the root is the one before. */
  readonly changed?: boolean
}

/** Checks the daemon's answer, so that a daemon of another version is an error and no riddle. */
export function commitAnswer(value: unknown): CommitAnswer {
  if (
    typeof value === 'object' &&
    value !== null &&
    'root' in value &&
    typeof value.root === 'string' &&
    'dirty' in value &&
    typeof value.dirty === 'number' &&
    'open' in value &&
    Array.isArray(value.open)
  ) {
    return value as CommitAnswer
  }
  throw new ModelcacheError('the daemon’s answer is no commit: it is of another version', {
    code: 'bad-answer',
    exitCode: 1,
  })
}

/** What a person should know beside the root, one line each. */
export function leftOutLines(answer: CommitAnswer): string[] {
  return [
    ...answer.open.map(({ path, reason }) => `not settled: ${path} (${reason})`),
    ...(answer.withheld ?? []).map(({ path, reason }) => `withheld: ${path} (${reason})`),
  ]
}
