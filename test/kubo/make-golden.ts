import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildKubo } from './binary.ts'
import { askKubo, goldenPath } from './golden.ts'
import { makeShapes } from './shapes.ts'

/**
 * Writes test/kubo/golden.json anew with the Kubo that go.mod pins, which is built first if need
 * be: `node test/kubo/make-golden.ts`. Needs Go; the tests that compare with it do not.
 */
const kubo = await buildKubo()
const scratch = await mkdtemp(join(tmpdir(), 'modelcache-golden-'))
try {
  const shapes = join(scratch, 'shapes')
  await mkdir(shapes)
  await makeShapes(shapes)
  const golden = await askKubo(kubo, shapes)
  await writeFile(goldenPath, `${JSON.stringify(golden, null, 2)}\n`)
  process.stdout.write(`${Object.keys(golden.cids).length} CIDs by Kubo ${golden.kubo}\n`)
} finally {
  await rm(scratch, { recursive: true, force: true })
}
