import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../support/index.ts'
import type { Row } from './rows.ts'

/** The document that lists the table of behaviours. */
export const SEMANTICS = join(repositoryRoot, 'docs/semantics.md')

const BEGIN =
  '<!-- rows: written by `node test/posix/write-semantics.ts`, from the table itself -->'
const END = '<!-- end of rows -->'

/** The document as it is, and as it is with the sections of these rows. */
export function renderSemantics(rows: Row[]): { found: string; expected: string } {
  const found = readFileSync(SEMANTICS, 'utf8')
  const [before, rest] = splitAt(found, BEGIN)
  const [, after] = splitAt(rest, END)
  const sections = [...new Set(rows.map(({ section }) => section))]
  const text = sections.map((section) => renderSection(section, rows)).join('\n')
  return { found, expected: `${before}${BEGIN}\n\n${text}\n${END}${after}` }
}

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark)
  if (at < 0) throw new Error(`docs/semantics.md has no line ${mark}`)
  return [text.slice(0, at), text.slice(at + mark.length)]
}

function renderSection(section: string, rows: Row[]): string {
  const lines = rows
    .filter((row) => row.section === section)
    .map(({ name, says, notOn }) => `| ${cell(says)} | \`${name}\` | ${cell(exceptions(notOn))} |`)
  return `### ${section}\n\n| behaviour | row | not said of |\n|---|---|---|\n${lines.join('\n')}\n`
}

function exceptions(notOn: Row['notOn']): string {
  return Object.entries(notOn)
    .map(([way, reason]) => `${way}: ${reason}`)
    .join('; ')
}

/** A bar would end the cell, and a star could begin emphasis. */
function cell(text: string): string {
  return text.replace(/[|*_]/g, (character) => `\\${character}`)
}
