import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { it } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  has,
  makeTempDir,
  nodePath,
  removeTempDir,
  run,
  scrubbedEnvironment,
} from '../support/index.ts'

it('the tour finds everything as said, and leaves nothing behind', async (t) => {
  if (!has(t, 'fuse')) return
  const home = makeTempDir('modelcache-tour-test-')
  t.after(() => removeTempDir(home))
  const env = scrubbedEnvironment(home)
  const script = fileURLToPath(new URL('./tour.ts', import.meta.url))
  const { code, stdout, stderr } = await run(nodePath(), [script], { env })
  assert.equal(code, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /Everything was as said/)
  assert.deepEqual(readdirSync(`${home}/tmp`), [])
})
