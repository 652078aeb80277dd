import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Mount, modelcacheJson } from '../support/index.ts'
import type { Trace } from './drive.ts'
import { type CommittedRoot, testScenarios } from './scenario.ts'

const MIB = 1024 * 1024

// Locks and converters, the database, temporary directories: scenarios 10, 11, 15 to 17, 23, 24.
testScenarios([
  { name: 's10_embed_flock', everyRoot: assertNoLock },
  { name: 's11_lock_in_output', elsewhere: true, everyRoot: assertWholeModels },
  {
    name: 's15_vit_dedup',
    elsewhere: true,
    afterRun: assertOneContent,
    afterSecond: assertFetchedOnce,
  },
  { name: 's16_openvino_in_hub', elsewhere: true },
  { name: 's17_snpe_dlc' },
  { name: 's23_duckdb_like' },
  { name: 's24_temp_and_back', everyRoot: assertNothingTemporary },
])

function assertNoLock({ names }: CommittedRoot): void {
  assert.deepEqual(
    names.filter((name) => name.endsWith('.lock')),
    [],
    'a lock was committed',
  )
}

/** An .xml promises its .bin: whoever takes a root at any moment finds both whole, or no .xml. */
function assertWholeModels(root: CommittedRoot, run: Trace): void {
  assertNoLock(root)
  const facts = new Map(run.facts)
  const expected = { bin: facts.get('bin') as string[], xml: facts.get('xml') as string[] }
  for (const [name, digest] of root.digests) {
    const [, index = '', kind = ''] = /whisper-(\d+)\/model\.(bin|xml)$/.exec(name) ?? []
    const whole = expected[kind as 'bin' | 'xml'][Number(index)]
    assert.equal(digest, whole, `${name} is not whole`)
    if (kind === 'xml') {
      assert.ok(root.digests.has(name.replace(/xml$/, 'bin')), `${name} came before its .bin`)
    }
  }
}

/** Equal bytes are one content, whatever they are called: nothing is stored of it but the files. */
async function assertOneContent(mount: Mount): Promise<void> {
  await mount.commitAll()
  const models = join(mount.mountpoint, '.cache/openvino_models')
  const paths = readdirSync(models).map((name) => join(models, name))
  const found = await modelcacheJson<{ cid: string }[]>(['cid', ...paths], { env: mount.env })
  assert.equal(found.length, 20)
  assert.equal(new Set(found.map(({ cid }) => cid)).size, 1, 'one CID for equal files')
  const { blockBytes } = (await mount.status()).store_usage
  assert.ok(blockBytes < MIB, `${blockBytes} bytes of blocks beside the files`)
}

/** What came under one name is not fetched again under the next one. */
async function assertFetchedOnce(mount: Mount, receivedBytes: number): Promise<void> {
  const { tree } = await mount.status()
  assert.equal(tree.missingBytes, 0, 'all of it was read')
  const sizeBytes = tree.bytes / 20
  assert.ok(sizeBytes > 3 * MIB)
  // A few may be asked for before the first is complete, and all 20 if nothing were known of it.
  assert.ok(receivedBytes < 6 * sizeBytes, `${receivedBytes} bytes came for one of ${sizeBytes}`)
}

function assertNothingTemporary({ names }: CommittedRoot): void {
  assert.deepEqual(names, [], 'a temporary directory was committed')
}
