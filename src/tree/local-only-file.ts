import { readFile } from 'node:fs/promises'
import { isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'

/** A table of thousands of patterns would be matched against every name of every commit. */
const MAX_PATTERNS = 1000
const MODE = 0o600

/**
 * The user's patterns of names that stay on this machine, one a line in the syntax of gitignore(5).
 * The file may be edited; a daemon reads it at its start.
 *
 * @throws ModelcacheError `bad-pattern` where there are too many
 */
export async function readLocalOnlyPatterns(path: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return []
    }
    throw error
  }
  const patterns = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
  if (patterns.length > MAX_PATTERNS) {
    throw bad(`${path}: ${patterns.length} patterns; keep at most ${MAX_PATTERNS}`)
  }
  return patterns
}

/** Adds patterns that are not there yet, durably. What stands in the file stays as it is. */
export async function addLocalOnlyPatterns(
  path: string,
  patterns: readonly string[],
): Promise<void> {
  const known = await readLocalOnlyPatterns(path)
  const fresh = patterns.filter((pattern) => !known.includes(pattern))
  if (fresh.length === 0) {
    return
  }
  if (known.length + fresh.length > MAX_PATTERNS) {
    throw bad(`${path}: with these there would be more than ${MAX_PATTERNS} patterns`)
  }
  const before = known.length === 0 ? '' : await readFile(path, 'utf8')
  const text = before === '' || before.endsWith('\n') ? before : `${before}\n`
  await writeFileDurable(path, `${text}${fresh.join('\n')}\n`, MODE)
}

function bad(message: string): ModelcacheError {
  return new ModelcacheError(message, { code: 'bad-pattern', exitCode: 2 })
}
