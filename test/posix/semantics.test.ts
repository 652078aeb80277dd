import assert from 'node:assert/strict'
import { test } from 'node:test'
import { has, tempDir } from '../support/index.ts'
import { readTable } from './rows.ts'
import { renderSemantics } from './semantics.ts'

test('docs/semantics.md lists every row of the table, as it is', async (t) => {
  if (!has(t, 'python')) return
  const { found, expected } = renderSemantics(await readTable(tempDir(t)))
  assert.equal(found, expected, 'run `node test/posix/write-semantics.ts`')
})

test('docs/semantics.md names no row that there is not', async (t) => {
  if (!has(t, 'python')) return
  const names = new Set((await readTable(tempDir(t))).map(({ name }) => name))
  const { found } = renderSemantics([])
  const prose = found.slice(0, found.indexOf('<!-- rows:'))
  const named = [...prose.matchAll(/\(`([a-z0-9_]+)`/g)].map(([, name]) => name ?? '')
  assert.deepEqual(
    named.filter((name) => !names.has(name)),
    [],
  )
})
