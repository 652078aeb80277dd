import type { ExitCode } from '../base/index.ts'
import { ModelcacheError, messageOf } from '../base/index.ts'

/** The socket's name in `run/`. */
export const CONTROL_SOCKET = 'control.sock'
/** A request names paths at most; an answer lists what is open. Longer lines end the connection. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

const NEWLINE = 0x0a

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

/** Cuts a stream into lines, and bytes that a line announces; throws on a line that is too long. */
export class LineDecoder {
  #rest = Buffer.alloc(0)
  #expected = 0
  #take: (bytes: Uint8Array) => void = () => {}

  /** Called while a line is delivered: what follows it are so many bytes. */
  expectBytes(count: number, take: (bytes: Uint8Array) => void): void {
    this.#expected = count
    this.#take = take
  }

  push(chunk: Uint8Array, deliver: (line: string) => void): void {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk])
    while (this.#rest.length > 0) {
      if (this.#expected > 0) {
        const bytes = this.#rest.subarray(0, this.#expected)
        this.#rest = this.#rest.subarray(bytes.length)
        this.#expected -= bytes.length
        this.#take(bytes)
        continue
      }
      const end = this.#rest.indexOf(NEWLINE)
      if (end === -1) {
        break
      }
      const line = this.#rest.toString('utf8', 0, end)
      this.#rest = this.#rest.subarray(end + 1)
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
