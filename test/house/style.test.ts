import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Longer than this, a file holds more than one concept. Tables of cases are longer. */
const MAX_LINES = 400
const MAX_TEST_LINES = 600

/** Longer with a reason. */
const LONG_FOR_A_REASON: ReadonlyMap<string, number> = new Map([
  // One trait, a method for each request of the kernel, each a call into the file of its kind.
  ['native/src/ops/mod.rs', 550],
  // The requests that change names take the same locks in the same order.
  ['native/src/ops/names.rs', 500],
])

interface Code {
  readonly path: string
  readonly lines: readonly string[]
}

/** Everything that is written by hand and is code, as git knows it, new files too. */
function readCode(): Code[] {
  const listed = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    { cwd: ROOT, encoding: 'utf8' },
  )
  return listed
    .split('\0')
    .filter((path) => /\.(ts|mjs|rs|py|sh)$/.test(path) || path === 'bin/modelcache')
    .filter((path) => statSync(join(ROOT, path), { throwIfNoEntry: false })?.isFile())
    .map((path) => ({ path, lines: readFileSync(join(ROOT, path), 'utf8').split('\n') }))
}

const code = readCode()
const sources = code.filter(({ path }) => path.startsWith('src/'))

/** `path:line` of every line of these files that a rule refuses. */
function offences(files: readonly Code[], isWrong: (line: string) => boolean): string[] {
  return files.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (isWrong(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  )
}

/** Lines without the last line's end, and without the unit tests that Rust keeps in the file. */
function lengthOf(lines: readonly string[]): number {
  const tests = lines.findIndex((line) => line.startsWith('#[cfg(test)]'))
  return tests >= 0 ? tests : lines.length - 1
}

function limitOf(path: string): number {
  return (
    LONG_FOR_A_REASON.get(path) ??
    (/^(test|native\/tests)\//.test(path) ? MAX_TEST_LINES : MAX_LINES)
  )
}

describe('the style', () => {
  it(`keeps files within ${MAX_LINES} lines, tests within ${MAX_TEST_LINES}`, () => {
    const long = code
      .map(({ path, lines }) => ({ path, count: lengthOf(lines) }))
      .filter(({ path, count }) => count > limitOf(path))
    assert.deepEqual(
      long.map(({ path, count }) => `${path}: ${count} lines`),
      [],
    )
  })

  it('names no file for what it is not', () => {
    const vague = /(^|\/)(utils?|helpers?|common|managers?|misc)(\.|\/|-)/
    assert.deepEqual(
      code.map(({ path }) => path).filter((path) => vague.test(path)),
      [],
    )
  })

  it('reads the environment only in src/config', () => {
    const others = sources.filter(({ path }) => !path.startsWith('src/config/'))
    assert.deepEqual(
      offences(others, (line) => /process\.env\b/.test(line)),
      [],
    )
  })

  it('touches clock and timers only in src/base and src/config', () => {
    const others = sources.filter(({ path }) => !/^src\/(base|config)\//.test(path))
    const direct =
      /(?<!\.)\b(setTimeout|setInterval|setImmediate)\(|\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|node:timers|process\.hrtime|AbortSignal\.timeout/
    assert.deepEqual(
      offences(others, (line) => direct.test(line.replace(/^\s*(\*|\/\/|\/\*).*/, ''))),
      [],
    )
  })

  it('swallows no error and asserts nothing away', () => {
    const silent = /\bcatch\s*(\([^)]*\))?\s*\{\s*\}/
    assert.deepEqual(
      offences(code, (line) => silent.test(line)),
      [],
    )
  })

  it('leaves nothing to be done later', () => {
    // Spelled apart, so that this line is no find of its own.
    const later = new RegExp(
      `\\b(${['TO', 'FIX', 'XX'].map((word) => word).join('|')})(DO|ME|X)\\b`,
    )
    assert.deepEqual(
      offences(code, (line) => later.test(line)),
      [],
    )
  })
})
