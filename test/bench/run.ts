// Measures every way into the same directory, and prints what each does of a plain directory's speed:
//   npm run bench -- [--long] [--write] [--render] [--way ID]…
// --write keeps the figures in docs/evidence/ and makes docs/benchmarks.md of them; --render makes
// only the document, of the figures that are kept.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeTempDir, removeTempDir, repositoryRoot } from '../support/index.ts'
import { measureAll } from './measure.ts'
import { LONG_SIZES, SIZES } from './measures.ts'
import { benchDocument, table, unsteady, verdict } from './report.ts'
import type { BenchResult } from './result.ts'
import { WAYS } from './ways.ts'

const KEPT = join(repositoryRoot, 'docs/evidence/bench-issue-3.json')
const DOCUMENT = join(repositoryRoot, 'docs/benchmarks.md')
const RESULTS = join(repositoryRoot, 'test/bench/results')

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
    way: { type: 'string', multiple: true, default: [] },
  },
})

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  process.stderr.write(`bench: wrote ${path}\n`)
}

/** Why these options make no sense, or undefined. */
function misuse(): string | undefined {
  const unknown = values.way.filter((id) => !WAYS.some((way) => way.id === id))
  const known = WAYS.map(({ id }) => id).join(', ')
  if (unknown.length > 0) return `--way ${unknown.join(', ')}: give some of ${known}`
  const partial = values.write && values.way.length > 0
  return partial ? '--write keeps the figures of all ways: leave --way out' : undefined
}

async function measure(): Promise<BenchResult> {
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => stop.abort(new Error(`ended by ${signal}`)))
  }
  const ways = WAYS.filter(({ id }) => values.way.length === 0 || values.way.includes(id))
  const place = makeTempDir('modelcache-bench-')
  try {
    const sizes = values.long ? LONG_SIZES : SIZES
    return await measureAll({ ways, place, sizes, rounds: 3, signal: stop.signal })
  } finally {
    await removeTempDir(place)
  }
}

async function main(): Promise<void> {
  if (!values.render) {
    const result = await measure()
    const text = `${JSON.stringify(result, null, 2)}\n`
    write(join(RESULTS, `${result.date.replace(/[:.]/g, '-')}.json`), text)
    if (values.write) write(KEPT, text)
    process.stdout.write(`${table(result)}\n\n${unsteady(result)}\n\n${verdict(result)}\n`)
  }
  if (values.write || values.render) {
    const kept: BenchResult = JSON.parse(readFileSync(KEPT, 'utf8'))
    write(DOCUMENT, benchDocument(kept))
  }
}

const wrong = misuse()
if (wrong === undefined) {
  await main()
} else {
  process.stderr.write(`bench: ${wrong}\n`)
  process.exitCode = 2
}
