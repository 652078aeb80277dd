// Run by foreign-file-system.test.ts in a mount namespace of its own, on a file system that is
// full or has no attributes: `node in-file-system.ts full-disk|no-xattr DIR`. Prints JSON.

import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { argv, stdout } from 'node:process'
import { errnoOf } from '../../src/base/index.ts'
import {
  classifyName,
  createPlaceholders,
  type Database,
  openDatabase,
  readRecord,
} from '../../src/tree/index.ts'
import { rawCid } from './fixtures.ts'

const [, , what, dir = ''] = argv

function putRow(database: Database, number: number): Promise<void> {
  const stamp = { sizeBytes: 1, mtimeNs: 1n, ctimeNs: 1n }
  const row = { stamp, cid: rawCid(`${number}`), tsizeBytes: 1, oid: BigInt(number) }
  return database.files.put({ ino: BigInt(number), btimeNs: 0n }, row)
}

/** The errno of what fails, or `none`. */
async function errnoFrom(act: () => Promise<unknown>): Promise<string> {
  try {
    await act()
    return 'none'
  } catch (error) {
    return errnoOf(error)
  }
}

async function fullDisk(): Promise<object> {
  const filler = join(dir, 'filler')
  await writeFile(filler, new Uint8Array(38 * 2 ** 20))
  const database = await openDatabase(join(dir, 'db'))
  const secret = { ino: 1n, btimeNs: 1n }
  let rows = 0
  const errno = await errnoFrom(async () => {
    for (;;) {
      await putRow(database, rows)
      rows += 1
    }
  })
  const second = await errnoFrom(() => database.sync())
  const readable = (await database.files.get({ ino: 0n, btimeNs: 0n })) !== undefined
  await rm(filler)
  await database.secrets.add(secret)
  await putRow(database, rows)
  await database.close()
  const again = await openDatabase(join(dir, 'db'))
  let found = 0
  for await (const _row of again.files.entries()) {
    found += 1
  }
  const kept = await again.secrets.has(secret)
  await again.close()
  return { errno, second, readable, lost: rows + 1 - found, kept }
}

async function noXattr(): Promise<object> {
  const staging = join(dir, 'staging')
  await mkdir(staging)
  const record = { kind: 'file', cid: rawCid('x'), mode: 0o644, sizeBytes: 1, mtimeNs: 0n } as const
  const entries = [{ type: 'f', name: 'file', record }] as const
  const errno = await errnoFrom(() => createPlaceholders(dir, entries, { staging }))
  return { errno, record: readRecord(staging) ?? null, name: classifyName('file', 'f') }
}

stdout.write(JSON.stringify(what === 'full-disk' ? await fullDisk() : await noXattr()))
