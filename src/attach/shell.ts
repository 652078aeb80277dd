/** What `modelcache env --shell` can write. */
export const SHELLS = ['sh', 'fish', 'json'] as const
export type Shell = (typeof SHELLS)[number]

/**
 * The variables as lines that the shell evaluates, or as one JSON object.
 *
 * @returns text without a final newline
 */
export function shellText(variables: Readonly<Record<string, string>>, shell: Shell): string {
  if (shell === 'json') {
    return JSON.stringify(variables, null, 2)
  }
  return Object.entries(variables)
    .map(([name, value]) =>
      shell === 'fish'
        ? `set -gx ${name} ${fishQuoted(value)}`
        : `export ${name}=${shQuoted(value)}`,
    )
    .join('\n')
}

/** POSIX single quotes: nothing is special inside, and a quote itself is written outside. */
export function shQuoted(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`
}

/** Inside fish's single quotes, backslash and quote are escaped. */
function fishQuoted(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
