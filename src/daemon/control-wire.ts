import type { ExitCode } from '../base/index.ts'
import { ModelcacheError, messageOf } from '../base/index.ts'

/** The socket's name in `run/`. */
export const CONTROL_SOCKET = 'control.sock'
/** A request names paths at most; an answer lists what is open. Longer lines end the connection. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

export type ControlArgs = Readonly<Record<string, unknown>>

/** What a failed operation says: enough for the command line to say and exit the same. */
export interface ControlError {
  code: string
  message: string
  exitCode: ExitCode
}

export function controlErrorOf(error: unknown): ControlError {
  const known = error instanceof ModelcacheError ? error : undefined
  return {
    code: known?.code ?? 'failed',
    message: messageOf(error),
    exitCode: known?.exitCode ?? 1,
  }
}

/** Cuts a stream into lines and hands each over; throws on one that is too long. */
export class LineDecoder {
  #rest = ''
  readonly #decoder = new TextDecoder()

  push(chunk: Uint8Array, deliver: (line: string) => void): void {
    this.#rest += this.#decoder.decode(chunk, { stream: true })
    for (let end = this.#rest.indexOf('\n'); end !== -1; end = this.#rest.indexOf('\n')) {
      const line = this.#rest.slice(0, end)
      this.#rest = this.#rest.slice(end + 1)
      deliver(line)
    }
    if (this.#rest.length > MAX_LINE_BYTES) {
      throw new ModelcacheError('control socket: a line is too long', { code: 'protocol' })
    }
  }
}

/** A line as an object; undefined for anything else. */
export function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch (error) {
    if (error instanceof SyntaxError) {
      return undefined
    }
    throw error
  }
}
