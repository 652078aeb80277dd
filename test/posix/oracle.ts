import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { makeTempDir, removeTempDir } from '../support/index.ts'
import { actRows, prepareRows, READ_ONLY, type Row, type RowResult, readTable } from './rows.ts'

/** A plain directory to act in, and what to take away afterwards. */
export interface PlainPlace {
  root: string
  release(): Promise<unknown>
}

/** Makes of the prepared plain directory one that is like a way in, such as read-only. */
export type Disguise = (plain: string) => Promise<PlainPlace>

/** What the rows give on a plain directory of this machine, by their names. */
export type Oracle = ReadonlyMap<string, RowResult>

const asItIs: Disguise = async (plain) => ({ root: plain, release: async () => undefined })

const known = new Map<Disguise, Promise<Oracle>>()

/**
 * What all rows give on a plain directory: of a read-only one those of its section, of others all
 * others. They are run once by each process, by the same program as on the ways in.
 */
export function oracleOf(disguise: Disguise = asItIs): Promise<Oracle> {
  const found = known.get(disguise) ?? runOnPlain(disguise)
  known.set(disguise, found)
  return found
}

async function runOnPlain(disguise: Disguise): Promise<Oracle> {
  const base = makeTempDir('modelcache-plain-')
  try {
    const isReadOnly = disguise !== asItIs
    const rows = (await readTable(base)).filter(
      ({ section, notOn }: Row) => (section === READ_ONLY) === isReadOnly && !('plain' in notOn),
    )
    const plain = join(base, 'plain/rows')
    mkdirSync(plain, { recursive: true })
    await prepareRows(plain, rows, base)
    const place = await disguise(plain)
    try {
      const scratch = join(base, 'scratch')
      return await actRows('plain', place.root, rows, scratch, async () => undefined)
    } finally {
      await place.release()
    }
  } finally {
    await removeTempDir(base)
  }
}
