import { shown, usageError } from './usage.ts'

const MAX_PATTERN_BYTES = 4096

/**
 * The patterns of `--local-only`, each once.
 *
 * @throws ModelcacheError `usage` for what is no line of a `.gitignore`
 */
export function localOnlyOption(patterns: readonly string[]): string[] {
  for (const pattern of patterns) {
    const fault = faultOf(pattern)
    if (fault !== undefined) {
      throw usageError(
        `--local-only ${shown(pattern)}: ${fault}; give a pattern as in .gitignore, such as *.private`,
      )
    }
  }
  return [...new Set(patterns)]
}

function faultOf(pattern: string): string | undefined {
  if (pattern.trim() === '') {
    return 'it is empty'
  }
  if (/[\n\r\0]/.test(pattern)) {
    return 'it holds a line break or NUL'
  }
  if (pattern.startsWith('#')) {
    return 'it is a comment (write \\# for a name that begins so)'
  }
  return Buffer.byteLength(pattern) > MAX_PATTERN_BYTES
    ? `it has more than ${MAX_PATTERN_BYTES} bytes`
    : undefined
}
