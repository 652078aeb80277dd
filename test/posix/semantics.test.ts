import assert from 'node:assert/strict'
import { test } from 'node:test'
import { has, tempDir } from '../support/index.ts'
import { EXEMPT_WAYS } from './exemptions.ts'
import { readTable } from './rows.ts'
import { renderSemantics } from './semantics.ts'

test('docs/semantics.md lists every row and every exemption, as they are', async (t) => {
  if (!has(t, 'python')) return
  const { found, expected } = renderSemantics(await readTable(tempDir(t)), EXEMPT_WAYS)
  assert.equal(found, expected, 'run `node test/posix/write-semantics.ts`')
})

test('docs/semantics.md names no row that there is not', async (t) => {
  if (!has(t, 'python')) return
  const names = new Set((await readTable(tempDir(t))).map(({ name }) => name))
  const { found } = renderSemantics([], [])
  const prose = found.slice(0, found.indexOf('<!-- exemptions:'))
  const named = [...prose.matchAll(/\(`([a-z0-9_]+)`/g)].map(([, name]) => name ?? '')
  const exempt = EXEMPT_WAYS.flatMap((way) => Object.keys(way.exempt.rows))
  assert.deepEqual(
    [...named, ...exempt].filter((name) => !names.has(name)),
    [],
  )
})
