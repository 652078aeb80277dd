import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FUSE_ENGINES, has } from '../support/index.ts'
import { type Client, usedAsOnDisk } from './oracle.ts'

/** Journals are salted; a database that was left in a transaction has pages of it. */
const SQLITE: Client = { program: 'use_sqlite.py', varying: /-(journal|wal|shm)$/ }
/** Rows carry the time; the names of value files are random. */
const DISKCACHE: Client = {
  program: 'use_diskcache.py',
  varying: /^cache\/cache\.db(-wal|-shm)?$/,
  unnamed: /^cache\/[0-9a-f]{2}(\/|$)/,
}
/** A database has an identity of its own, and so has its log. */
const DUCKDB: Client = { program: 'use_duckdb.py', varying: /^facts\.duckdb(\.wal)?$/ }

for (const engine of FUSE_ENGINES) {
  test(`${engine}: SQLite recovers in every journal mode from a process killed in a transaction`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read } = await usedAsOnDisk(t, engine, SQLITE)
    for (const mode of ['DELETE', 'TRUNCATE', 'PERSIST', 'WAL']) {
      const { recovered, written } = wrote[mode] as Record<string, { integrity: string[] }>
      assert.deepEqual([recovered?.integrity, written?.integrity], [['ok'], ['ok']], mode)
    }
    for (const mode of ['DELETE', 'WAL']) {
      const { recovered } = read[mode] as { recovered: { integrity: string[]; rows: number[] } }
      assert.deepEqual(recovered.integrity, ['ok'], `${mode}, after a new mount`)
      assert.deepEqual([recovered.rows[0], recovered.rows[3]], [3000, 0], 'what was committed')
    }
  })

  test(`${engine}: diskcache keeps every step of two processes, and none of a killed transaction`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read } = await usedAsOnDisk(t, engine, DISKCACHE)
    assert.equal(wrote.mode, 'wal')
    assert.deepEqual(wrote.counts, [160, 160, 160, 20])
    assert.deepEqual([wrote.warnings, (read.before as typeof wrote).warnings], [[], []])
  })

  test(`${engine}: DuckDB spills, checkpoints, replays its log and refuses a second process`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote } = await usedAsOnDisk(t, engine, DUCKDB)
    assert.equal(wrote.spilled, true, 'the sort went through files')
    const { knocked } = wrote.killed as { knocked: Record<string, string> }
    assert.deepEqual(knocked, { False: 'lock', True: 'lock' })
  })
}
