// Writes the rows of the table, and what ways in are exempt from, into docs/semantics.md.

import { writeFileSync } from 'node:fs'
import { makeTempDir, removeTempDir } from '../support/index.ts'
import { EXEMPT_WAYS } from './exemptions.ts'
import { readTable } from './rows.ts'
import { renderSemantics, SEMANTICS } from './semantics.ts'

const scratch = makeTempDir()
try {
  writeFileSync(SEMANTICS, renderSemantics(await readTable(scratch), EXEMPT_WAYS).expected)
} finally {
  await removeTempDir(scratch)
}
