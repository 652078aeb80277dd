import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../support/index.ts'
import type { ExemptWay } from './exemptions.ts'
import type { Row } from './rows.ts'
import { TESTED_WAYS, type TestedWay } from './tested-ways.ts'

/** The document that lists the table of behaviours. */
export const SEMANTICS = join(repositoryRoot, 'docs/semantics.md')

/** What is written into the document, between two marks each. */
const WAYS = {
  begin: '<!-- ways: written by `node test/posix/write-semantics.ts`, from what the tests run -->',
  end: '<!-- end of ways -->',
}
const ROWS = {
  begin: '<!-- rows: written by `node test/posix/write-semantics.ts`, from the table itself -->',
  end: '<!-- end of rows -->',
}
const EXEMPTIONS = {
  begin:
    '<!-- exemptions: written by `node test/posix/write-semantics.ts`, as they are asserted -->',
  end: '<!-- end of exemptions -->',
}

/** The document as it is, and as it is with the sections of these rows and ways in. */
export function renderSemantics(
  rows: readonly Row[],
  ways: readonly ExemptWay[],
): { found: string; expected: string } {
  const found = readFileSync(SEMANTICS, 'utf8')
  const sections = [...new Set(rows.map(({ section }) => section))]
  const table = sections.map((section) => renderSection(section, rows)).join('\n')
  const exempt = ways.map(renderWay).join('\n')
  const withWays = between(found, WAYS, renderTestedWays())
  return { found, expected: between(between(withWays, EXEMPTIONS, exempt), ROWS, table) }
}

function between(text: string, { begin, end }: typeof ROWS, content: string): string {
  const [before, rest] = splitAt(text, begin)
  const [, after] = splitAt(rest, end)
  return `${before}${begin}\n\n${content}\n${end}${after}`
}

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark)
  if (at < 0) throw new Error(`docs/semantics.md has no line ${mark}`)
  return [text.slice(0, at), text.slice(at + mark.length)]
}

/** The states of docs/semantics.md, in its order; a way in of an ordinary user is a fresh one. */
const STATES: Readonly<Record<string, readonly string[]>> = {
  fresh: ['fresh', 'native-user'],
  served: ['served'],
  committed: ['committed'],
  remote: ['remote'],
  fetched: ['fetched'],
  'read-only': ['read-only'],
}

function renderTestedWays(): string {
  const states = Object.keys(STATES)
  const known = new Set(Object.values(STATES).flat())
  const lines = TESTED_WAYS.map((way) => {
    const unknown = [...way.states, ...way.longStates].filter(({ name }) => !known.has(name))
    if (unknown.length > 0) throw new Error(`${way.title}: no column for ${unknown[0]?.name}`)
    const cells = states.map((state) => renderState(way, STATES[state] ?? []))
    return `| ${way.title} | ${cells.join(' | ')} | \`test/posix/${way.file}\` |`
  })
  const head = `| way in | ${states.join(' | ')} | test |\n|${'---|'.repeat(states.length + 2)}`
  return `${head}\n${lines.join('\n')}\n`
}

function renderState({ states, longStates }: TestedWay, names: readonly string[]): string {
  const isIt = ({ name }: { name: string }) => names.includes(name)
  const found = states.find(isIt)
  const long = longStates.find(isIt)
  const way = found ?? long
  if (way === undefined) return '–'
  const rows = way.name === 'read-only' ? 'its own' : way.preparedOnly ? 'prepared' : 'all'
  return found === undefined ? `${rows}, long run` : rows
}

function renderSection(section: string, rows: readonly Row[]): string {
  const lines = rows
    .filter((row) => row.section === section)
    .map(({ name, says, notOn }) => `| ${cell(says)} | \`${name}\` | ${cell(notSaidOf(notOn))} |`)
  return `### ${section}\n\n| behaviour | row | not said of |\n|---|---|---|\n${lines.join('\n')}\n`
}

/** Ways in that share a reason stand together. */
function notSaidOf(notOn: Row['notOn']): string {
  const reasons = new Map<string, string[]>()
  for (const [way, reason] of Object.entries(notOn)) {
    reasons.set(reason, [...(reasons.get(reason) ?? []), way])
  }
  return [...reasons].map(([reason, ways]) => `${ways.join(', ')}: ${reason}`).join('; ')
}

function renderWay({ title, exempt }: ExemptWay): string {
  const { countsOurLinks } = exempt
  const everywhere =
    countsOurLinks === undefined ? [] : [['`st_nlink`, in all rows', countsOurLinks] as const]
  const rows = Object.entries(exempt.rows).map(([row, what]) => [`\`${row}\``, what] as const)
  const lines = [...everywhere, ...rows].map(
    ([where, { answer, reason }]) => `| ${where} | ${cell(answer)} | ${cell(reason)} |`,
  )
  return `### ${title}\n\n| row | what a program gets | why |\n|---|---|---|\n${lines.join('\n')}\n`
}

/** A bar would end the cell, and a star could begin emphasis; what is code stays as it is. */
function cell(text: string): string {
  return text
    .split('`')
    .map((part, index) => (index % 2 === 1 ? part : part.replace(/[|*_]/g, '\\$&')))
    .join('`')
}
