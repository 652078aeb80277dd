/**
 * Paths and names in this engine are strings, also those that are not UTF-8: a byte that is no part
 * of a character is kept as a lone surrogate, U+DC80 to U+DCFF (Python's "surrogateescape"), and
 * becomes that byte again where the system is called. A path is relative to the tree, without a
 * leading slash; '' is the tree itself.
 */
import { isUtf8 } from 'node:buffer'

const ESCAPE = 0xdc00
const SLASH = 0x2f

/** The string of a name's bytes. */
export function fromBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) {
    return bytes.toString()
  }
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at)
    text +=
      length === 0
        ? String.fromCharCode(ESCAPE + (bytes[at] ?? 0))
        : bytes.toString('utf8', at, at + length)
    at += Math.max(length, 1)
  }
  return text
}

/** How many bytes the character at this place has; 0 where there is none. */
function characterLength(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length += 1) {
    if (isUtf8(bytes.subarray(at, at + length))) {
      return length
    }
  }
  return 0
}

/** What the system is called with: the string itself where it is UTF-8, else its bytes. */
export function toNative(text: string): string | Buffer {
  return text.isWellFormed() ? text : toBytes(text)
}

/** The bytes of a name or path. */
export function toBytes(text: string): Buffer {
  if (text.isWellFormed()) {
    return Buffer.from(text)
  }
  const parts = Array.from(text, (character) =>
    character.isWellFormed() ? Buffer.from(character) : Buffer.of(character.charCodeAt(0) - ESCAPE),
  )
  return Buffer.concat(parts)
}

/** Below a directory that is given as a path of the system. */
export function below(directory: string, name: string): string | Buffer {
  return toNative(`${directory}/${name}`)
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Whether a path is below a directory. */
export function isBelow(path: string, directory: string): boolean {
  return directory === ''
    ? path !== ''
    : path.length > directory.length &&
        path.charCodeAt(directory.length) === SLASH &&
        path.startsWith(directory)
}
