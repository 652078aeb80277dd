import { constants } from 'node:os'

/** Exit codes of the command line, as README.md lists them. */
export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5

/** What an error carries beside its message. */
export interface ErrorDetails {
  /** Stable, machine-readable reason in kebab-case, such as `store-locked`. */
  code: string
  /** POSIX name such as `ENOSPC`, when a program in the mount would see this error. */
  errno?: string | undefined
  /** What the command line exits with when this error ends a command. */
  exitCode?: ExitCode | undefined
  cause?: unknown
}

/** The one error class of the project. Messages say verb and object: `import model.bin: …`. */
export class ModelcacheError extends Error {
  override readonly name = 'ModelcacheError'
  readonly code: string
  readonly errno: string | undefined
  readonly exitCode: ExitCode | undefined

  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = details.code
    this.errno = details.errno
    this.exitCode = details.exitCode
  }
}

/**
 * Errors that carry no errno of their own. `EIO` is what a local disk says when bytes cannot be
 * had; a caller that went away reads as an interrupted call.
 */
const ERRNO_OF_NAME: Readonly<Record<string, string>> = {
  AbortError: 'EINTR',
  NotFoundError: 'EIO',
  TimeoutError: 'EIO',
}

/** True for an error that says: the operation was cancelled. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

/**
 * The POSIX name that a program in the mount gets for this error.
 *
 * @returns a name of errno(3); `EIO` for everything that has none.
 */
export function errnoOf(error: unknown): string {
  if (error instanceof ModelcacheError && error.errno !== undefined) {
    return error.errno
  }
  const code = codeOf(error)
  if (code !== undefined && code in constants.errno) {
    return code
  }
  if (error instanceof ModelcacheError && error.cause !== undefined) {
    return errnoOf(error.cause)
  }
  return (error instanceof Error && ERRNO_OF_NAME[error.name]) || 'EIO'
}

/** The `code` of a Node error (`ENOENT`, `ERR_…`) or of ours, if it has one. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) {
    return undefined
  }
  return typeof error.code === 'string' ? error.code : undefined
}

/** True when the error is a system error of this name, whoever raised it. */
export function isErrno(error: unknown, ...names: string[]): boolean {
  const own = error instanceof ModelcacheError ? error.errno : codeOf(error)
  return own !== undefined && names.includes(own)
}

/** The message of anything that was thrown, for a line of a log or of stderr. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
