/**
 * The way to the C library: Node lacks some system calls, and koffi calls them (prebuilt, no
 * compiler). Only files of this folder use it. Linux only; constants are those of the kernel's
 * uapi headers and the same on x86-64 and arm64 unless said.
 */
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'
import { ModelcacheError } from './errors.ts'

/** A path in UTF-8, or its bytes. */
export type Path = string | Uint8Array
type Value = number | Uint8Array | null
/** A signed word: sizes and results fit a double. */
export type Call = (...values: Value[]) => number
/** Values after the fixed ones, each with its type before it. */
export type VariadicCall = (...values: (Value | string)[]) => number
/** As `Call`, and in a thread of koffi's. */
export type AsyncCall = Call & {
  async: (fd: number, done: (error: unknown, result: number) => void) => void
}

/** fcntl.h: relative paths start at the working folder. Ours are absolute. */
export const AT_FDCWD = -100

// Null loads the symbols of the process itself, so that glibc and musl both work.
const library = koffi.load(null)

export function declare(definition: string): Call {
  return library.func(definition) as unknown as Call
}

export function declareVariadic(definition: string): VariadicCall {
  return library.func(definition) as unknown as VariadicCall
}

/** errno of the call before; nothing may come in between. */
export function lastErrno(): number {
  return koffi.errno()
}

/** Throws the system's error when a call gave -1. */
export function check(what: string, result: number): void {
  if (result === -1) {
    throw systemError(what, koffi.errno())
  }
}

export function systemError(what: string, errno: number): ModelcacheError {
  const name = getSystemErrorName(-errno)
  return new ModelcacheError(`${what}: ${name}`, { code: name, errno: name })
}

/** A C string. A NUL inside would silently name another file. */
export function terminated(path: Path): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path
  if (bytes.includes(0)) {
    throw new ModelcacheError('a path contains NUL', { code: 'EINVAL', errno: 'EINVAL' })
  }
  const result = new Uint8Array(bytes.length + 1)
  result.set(bytes)
  return result
}

export function shown(path: Path): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString()
}
