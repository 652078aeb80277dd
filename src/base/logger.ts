import { type Clock, systemClock } from './clock.ts'
import { ModelcacheError } from './errors.ts'

/** From the rarest to the most talkative. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Facts of one line: the path, the CID, the reason. */
export type LogFields = Readonly<Record<string, unknown>>

/** One line of JSON for each call; addresses lose their tokens. */
export interface Logger {
  error(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  debug(message: string, fields?: LogFields): void
}

export interface LoggerOptions {
  level: LogLevel
  /** Gets one line, with its newline. */
  write: (line: string) => void
  clock?: Pick<Clock, 'now'>
}

/** Where a line would be longer than this, its fields are left out: a log is read by people. */
const MAX_LINE_BYTES = 16 * 1024

/** Each pattern keeps what names the thing and drops what opens it. */
const SECRETS: readonly [RegExp, string][] = [
  [/\/t\/[^/\s"'?#\\]+/g, '/t/[redacted]'],
  [/%2[Ff]t%2[Ff][A-Za-z0-9._~-]+/g, '%2Ft%2F[redacted]'],
  [/([a-z][a-z0-9+.-]*:\/\/)[^/\s"'@]+@/gi, '$1[redacted]@'],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/g, '$1 [redacted]'],
  [/\bhf_[A-Za-z0-9]{8,}/g, 'hf_[redacted]'],
]

/** Takes out tokens of share addresses, credentials of URLs, bearer tokens and Hub tokens. */
export function redact(text: string): string {
  let clean = text
  for (const [pattern, replacement] of SECRETS) {
    clean = clean.replace(pattern, replacement)
  }
  return clean
}

/** Creates a logger that writes JSON lines of `{at, level, message, …fields}`. */
export function createLogger(options: LoggerOptions): Logger {
  const clock = options.clock ?? systemClock
  const threshold = LOG_LEVELS.indexOf(options.level)

  const log =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) > threshold) {
        return
      }
      const head = { at: clock.now().toISOString(), level, message }
      const line = JSON.stringify({ ...fields, ...head }, printable)
      const short = line.length > MAX_LINE_BYTES ? shortened(head) : line
      options.write(`${redact(short)}\n`)
    }

  return { error: log('error'), warn: log('warn'), info: log('info'), debug: log('debug') }
}

function shortened(head: { at: string; level: LogLevel; message: string }): string {
  return JSON.stringify({ ...head, message: head.message.slice(0, 4096), shortened: true })
}

function printable(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') {
    return value.toString()
  }
  if (value instanceof ModelcacheError) {
    const { message, code, errno, cause } = value
    return { message, code, errno, cause }
  }
  if (value instanceof Error) {
    return { name: value.name, message: value.message, stack: value.stack, cause: value.cause }
  }
  return value
}
