/** True when a path (relative, with slashes, no slash at the end) is excluded. */
export type IgnoreRules = (path: string, isDirectory: boolean) => boolean

interface IgnoreRule {
  matcher: RegExp
  negated: boolean
  onlyDirectories: boolean
}

/**
 * Patterns in the syntax of gitignore(5): the last one that matches decides, `!` takes back, and
 * what lies in an excluded directory is excluded.
 */
export function createIgnoreRules(patterns: readonly string[]): IgnoreRules {
  const rules = patterns.map(parseRule).filter((rule) => rule !== undefined)

  const excludes = (path: string, isDirectory: boolean) => {
    const last = rules.findLast(
      (rule) => (isDirectory || !rule.onlyDirectories) && rule.matcher.test(path),
    )
    return last !== undefined && !last.negated
  }

  return (path, isDirectory) => {
    if (rules.length === 0) {
      return false
    }
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      if (excludes(path.slice(0, slash), true)) {
        return true
      }
    }
    return excludes(path, isDirectory)
  }
}

function parseRule(line: string): IgnoreRule | undefined {
  // Spaces at the end do not count unless they are escaped.
  let pattern = line.replace(/\r?\n$/, '').replace(/(?<!\\)( )+$/, '')
  if (pattern === '' || pattern.startsWith('#')) {
    return undefined
  }
  const negated = pattern.startsWith('!')
  pattern = negated ? pattern.slice(1) : pattern
  const onlyDirectories = pattern.endsWith('/')
  pattern = onlyDirectories ? pattern.slice(0, -1) : pattern
  // A slash anywhere but at the end ties the pattern to the root of the tree.
  const anchored = pattern.includes('/')
  pattern = pattern.startsWith('/') ? pattern.slice(1) : pattern
  if (pattern === '') {
    return undefined
  }
  const body = translate(pattern)
  return {
    matcher: new RegExp(`^${anchored ? '' : '(?:.*/)?'}${body}$`, 'su'),
    negated,
    onlyDirectories,
  }
}

/** A pattern as the source of a regular expression. */
function translate(pattern: string): string {
  let source = ''
  let at = 0
  while (at < pattern.length) {
    const [piece, length] = translateAt(pattern, at)
    source += piece
    at += length
  }
  return source
}

/** The piece that begins at a position, and how many characters it took. */
function translateAt(pattern: string, at: number): [string, number] {
  const rest = pattern.slice(at)
  const atStart = at === 0 || pattern[at - 1] === '/'
  if (atStart && rest.startsWith('**/')) {
    return ['(?:.*/)?', 3]
  }
  if (atStart && rest === '**') {
    return ['.+', 2]
  }
  const stars = /^\*+/.exec(rest)
  if (stars !== null) {
    return ['[^/]*', stars[0].length]
  }
  if (rest.startsWith('?')) {
    return ['[^/]', 1]
  }
  const set = /^\[([!^]?)(\]?[^\]/]*)\]/.exec(rest)
  if (set !== null) {
    return [translateSet(set[1] !== '', set[2] ?? ''), set[0].length]
  }
  if (rest.startsWith('\\') && rest.length > 1) {
    return [literal(String.fromCodePoint(rest.codePointAt(1) ?? 0)), 1 + sizeAt(rest, 1)]
  }
  return [literal(rest.slice(0, sizeAt(rest, 0))), sizeAt(rest, 0)]
}

function translateSet(negated: boolean, members: string): string {
  const ranges = [...members.matchAll(/(.)-(.)|(.)/gsu)].map(([, from, to, single]) =>
    single === undefined ? orderedRange(from ?? '', to ?? '') : member(single),
  )
  return negated ? `[^/${ranges.join('')}]` : `[${ranges.join('')}]`
}

/** A range that runs backwards matches nothing, as in glob(7). */
function orderedRange(from: string, to: string): string {
  return from <= to ? `${member(from)}-${member(to)}` : ''
}

/** One or two UTF-16 units. */
function sizeAt(text: string, at: number): number {
  return (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/gu, '\\$&')
}

/** In a set the hyphen means something, too. */
function member(text: string): string {
  return literal(text).replace('-', '\\-')
}
