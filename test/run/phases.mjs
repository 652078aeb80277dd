// The phases of a run: checks of the sources, the keeper's own tests, and the tests of node:test.

import { spawn } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const MANIFEST = join(ROOT, 'native/Cargo.toml')

/** A file of tests that takes longer hangs, and is ended with everything that it started. */
const FILE_DEADLINE_MS = 15 * 60_000
const LONG_FILE_DEADLINE_MS = 120 * 60_000

/** Two files at a time: a file waits for mounts and other programs more than it computes. */
const CONCURRENCY = 2

/**
 * Light folders first, so that a broken foundation shows before the clients run on it. Folders
 * that are not named come between the two.
 */
const FIRST = ['house', 'base', 'config', 'tree', 'blocks', 'dag', 'ipfs']
const LAST = ['kubo', 'scenarios', 'clients', 'tour']

/** Type check, formatter and linter, of both languages. */
export async function checkPhase({ env }) {
  const cargo = (...args) => ['cargo', [...args]]
  const bin = (name) => join(ROOT, 'node_modules/.bin', name)
  const checks = [
    ['types', bin('tsc'), ['-p', join(ROOT, 'tsconfig.json')]],
    ['format and lint', bin('biome'), ['check', '--error-on-warnings', ROOT]],
    ['rustfmt', ...cargo('fmt', '--manifest-path', MANIFEST, '--check')],
    [
      'clippy',
      ...cargo(
        'clippy',
        '-q',
        '--manifest-path',
        MANIFEST,
        '--all-targets',
        '--locked',
        '--',
        '-D',
        'warnings',
      ),
    ],
  ]
  const result = { passed: 0, failed: 0, skipped: 0 }
  for (const [name, command, args] of checks) {
    const { code } = await run(command, args, env)
    process.stdout.write(`${code === 0 ? 'ok  ' : 'FAIL'} ${name}\n`)
    result[code === 0 ? 'passed' : 'failed'] += 1
  }
  return result
}

/** `cargo test`; its closing lines are counted. */
export async function keeperPhase({ env }) {
  const args = ['test', '--manifest-path', MANIFEST, '--locked']
  const { code, output } = await run('cargo', args, env)
  const result = { passed: 0, failed: 0, skipped: 0 }
  const closing = output.matchAll(/^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored/gm)
  for (const [, passed, failed, ignored] of closing) {
    result.passed += Number(passed)
    result.failed += Number(failed)
    result.skipped += Number(ignored)
  }
  // A build that failed, or a test that took the process down, counts nothing by itself.
  if (code !== 0 && result.failed === 0) {
    result.failed = 1
  }
  return result
}

/** All files of node:test, or those of some folders, in one runner. */
export async function nodePhase({ env, place, long, folders }) {
  const files = testFiles(folders)
  const counts = join(place, 'counts.jsonl')
  const args = [
    '--test',
    `--test-concurrency=${CONCURRENCY}`,
    `--test-timeout=${long ? LONG_FILE_DEADLINE_MS : FILE_DEADLINE_MS}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(ROOT, 'test/run/count-reporter.mjs')}`,
    `--test-reporter-destination=${counts}`,
    ...files,
  ]
  // Without a file the runner would look for tests by itself.
  const { code } = files.length === 0 ? { code: 1 } : await run(process.execPath, args, env)
  const summaries = existsSync(counts) ? readSummaries(counts) : []
  const whole = summaries.find(({ file }) => file === undefined)
  if (whole === undefined) {
    process.stdout.write('the test runner ended without a summary\n')
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const result = countsOf(whole)
  if (code !== 0 && result.failed === 0) {
    result.failed = 1
  }
  return { ...result, parts: byFolder(summaries.filter(({ file }) => file !== undefined)) }
}

function testFiles(folders) {
  const rank = (file) => {
    const folder = relative(join(ROOT, 'test'), dirname(file)).split('/')[0]
    const first = FIRST.indexOf(folder)
    const last = LAST.indexOf(folder)
    return last >= 0 ? FIRST.length + 1 + last : first >= 0 ? first : FIRST.length
  }
  const patterns = folders.length === 0 ? ['**'] : folders.map((folder) => `${folder}/**`)
  return globSync(patterns.map((pattern) => join(ROOT, 'test', pattern, '*.test.ts'))).sort(
    (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1),
  )
}

function readSummaries(file) {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

function countsOf({ counts }) {
  return {
    passed: counts.passed,
    failed: counts.failed + counts.cancelled,
    skipped: counts.skipped + counts.todo,
  }
}

/** Rows of `[name, milliseconds, counts]`, one a folder of test/. */
function byFolder(summaries) {
  const rows = new Map()
  for (const summary of summaries) {
    const folder = relative(join(ROOT, 'test'), dirname(summary.file)).split('/')[0]
    const [name, ms, before] = rows.get(folder) ?? [
      `  ${folder}`,
      0,
      { passed: 0, failed: 0, skipped: 0 },
    ]
    const { passed, failed, skipped } = countsOf(summary)
    const counts = {
      passed: before.passed + passed,
      failed: before.failed + failed,
      skipped: before.skipped + skipped,
    }
    rows.set(folder, [name, ms + summary.duration_ms, counts])
  }
  return [...rows.values()]
}

/** Leaders of the process groups that run now: a runner of tests starts processes of its own. */
const running = new Set()

/** Ends what a phase is running, with all that it started and that has not left its group. */
export function endRunning() {
  for (const pid of running) {
    process.kill(-pid, 'SIGKILL')
  }
}

/** Runs a program, shows all that it says, and keeps its standard output. */
function run(command, args, env) {
  const path = [env.PATH, join(homedir(), '.cargo/bin')].join(delimiter)
  return new Promise((done) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...env, PATH: `${dirname(process.execPath)}${delimiter}${path}` },
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    })
    const { pid } = child
    if (pid !== undefined) {
      running.add(pid)
      child.on('exit', () => running.delete(pid))
    }
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
      process.stdout.write(text)
    })
    child.on('error', (error) => {
      process.stdout.write(`cannot run ${command}: ${error.message}\n`)
      done({ code: 127, output })
    })
    child.on('close', (code) => done({ code: code ?? 1, output }))
  })
}
