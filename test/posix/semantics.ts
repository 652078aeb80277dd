import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../support/index.ts'
import type { ExemptWay } from './exemptions.ts'
import type { Row } from './rows.ts'

/** The document that lists the table of behaviours. */
export const SEMANTICS = join(repositoryRoot, 'docs/semantics.md')

/** What is written into the document, between two marks each. */
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
  return { found, expected: between(between(found, EXEMPTIONS, exempt), ROWS, table) }
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
