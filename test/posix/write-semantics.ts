// Writes the rows of the table into docs/semantics.md.

import { writeFileSync } from 'node:fs'
import { makeTempDir, removeTempDir } from '../support/index.ts'
import { readTable } from './rows.ts'
import { renderSemantics, SEMANTICS } from './semantics.ts'

const scratch = makeTempDir()
try {
  writeFileSync(SEMANTICS, renderSemantics(await readTable(scratch)).expected)
} finally {
  await removeTempDir(scratch)
}
