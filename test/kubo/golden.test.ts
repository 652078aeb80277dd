import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { env } from 'node:process'
import { after, before, describe, it } from 'node:test'
import { buildKubo, findKubo } from './binary.ts'
import { askKubo, type Golden, PROFILE, readGolden } from './golden.ts'
import { importTree } from './import-tree.ts'
import { makeShapes, SHAPES } from './shapes.ts'

/** The long run builds Kubo where it is not there yet; the short one then skips the comparison. */
const kubo = env.MODELCACHE_TEST_LONG === undefined ? await findKubo() : await buildKubo()

describe(`CIDs under the profile ${PROFILE}`, () => {
  let scratch = ''
  let shapes = ''
  let golden: Golden
  before(async () => {
    golden = await readGolden()
    scratch = await mkdtemp(join(tmpdir(), 'modelcache-golden-'))
    shapes = join(scratch, 'shapes')
    await mkdir(shapes)
    await makeShapes(shapes)
  })
  after(async () => {
    await rm(scratch, { recursive: true, force: true })
  })

  it('are known for every shape', () => {
    for (const shape of SHAPES) assert.ok(golden.cids[shape.name], shape.name)
  })

  it('are ours as they are Kubo’s, file by file and directory by directory', async () => {
    const imported = await importTree(shapes)
    const ours = Object.keys(golden.cids).map((path) => [path, imported.get(path)])
    assert.deepEqual(Object.fromEntries(ours), golden.cids)
  })

  const skip = kubo === undefined && 'Kubo is not built: node test/kubo/binary.ts'
  it('are still what Kubo makes of the shapes', { skip }, async () => {
    assert.ok(kubo)
    assert.deepEqual(await askKubo(kubo, shapes), golden)
  })
})
