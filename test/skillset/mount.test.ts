import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Hub, startHub } from '../hub/index.ts'
import {
  has,
  modelcacheJson,
  nodePath,
  readTree,
  runOk,
  scrubbedEnvironment,
  tempDir,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { writeTinyModel } from './tiny-model.ts'

const MODEL = 'tiny/bert'
const TEXTS = ['the same model on two machines', 'a vector for each file']
const CLIENT = fileURLToPath(new URL('../tour/client.ts', import.meta.url))
/** A few MiB of weights beside the model, so that it has more than one leaf. */
const MODEL_OPTIONS = { rows: 32_768, externalData: true }

interface Vectors {
  dimensions: number
  vectors: number[][]
}

describe('embed with its cache in a mount', () => {
  it('leaves the tree that it leaves in a plain directory, and finds it again', async (t) => {
    if (!has(t, 'fuse')) return
    const scratch = tempDir(t)
    const hub = await hubWithModel(t, scratch)
    const plain = join(scratch, 'plain')
    mkdirSync(plain)
    const env = scrubbedEnvironment(join(scratch, 'home'))
    const mount = await withMount(t, { args: ['--gate', 'closed'] })

    const expected = await runClient(env, ['--cache', join(plain, 'cache'), '--hub', hub.url])
    const cache = join(mount.mountpoint, 'cache')
    const got = await runClient(env, ['--cache', cache, '--hub', hub.url])
    assert.deepEqual(got, expected)
    assert.deepEqual(treeDifferences(await readTree(plain), await readTree(mount.mountpoint)), [])

    hub.forget()
    assert.deepEqual(await runClient(env, ['--cache', cache, '--hub', hub.url]), expected)
    const bodies = hub.requests.filter((request) => request.path.includes('.onnx'))
    assert.deepEqual(bodies, [], 'what is in the cache is not asked for again')

    await mount.commitAll()
    await mount.unmount()
    await mount.mount()
    assert.deepEqual(await runClient(env, ['--cache', cache, '--offline']), expected)
    assert.deepEqual(treeDifferences(await readTree(plain), await readTree(mount.mountpoint)), [])
  })

  it('is what modelcache infer says of the same directory', async (t) => {
    if (!has(t, 'fuse')) return
    const mount = await withMount(t, { args: ['--gate', 'closed'] })
    const model = join(mount.mountpoint, MODEL)
    const plain = join(tempDir(t), MODEL)
    await writeTinyModel(model, MODEL_OPTIONS)
    await writeTinyModel(plain, MODEL_OPTIONS)
    const texts = TEXTS.flatMap((text) => ['--text', text])
    const options = { env: mount.env, cwd: '/' }
    const [inMount, outside] = [
      await modelcacheJson<Vectors>(['infer', model, ...texts], options),
      await modelcacheJson<Vectors>(['infer', plain, ...texts], options),
    ]
    assert.equal(inMount.dimensions, 32)
    assert.deepEqual(inMount.vectors, outside.vectors)
  })
})

describe('embed with its cache in a plain directory', () => {
  it('downloads what was published, and needs no hub afterwards', async (t) => {
    const scratch = tempDir(t)
    const hub = await hubWithModel(t, scratch)
    const env = scrubbedEnvironment(join(scratch, 'home'))
    const cache = join(scratch, 'cache')
    await runClient(env, ['--cache', cache, '--hub', hub.url])
    const files = (await readTree(join(cache, MODEL))).filter((entry) => entry.type === 'file')
    const published = await readTree(join(scratch, 'model'))
    const modes = new Set(files.map((entry) => entry.mode))
    assert.deepEqual([...modes], ['0644'])
    assert.deepEqual(
      files,
      published.filter((entry) => entry.type === 'file'),
    )
    hub.forget()
    await runClient(env, ['--cache', cache, '--hub', hub.url, '--offline'])
    assert.deepEqual(hub.requests, [])
  })
})

async function hubWithModel(t: TestContext, scratch: string): Promise<Hub> {
  const source = join(scratch, 'model')
  await writeTinyModel(source, MODEL_OPTIONS)
  const hub = await startHub()
  t.after(() => hub.close())
  await hub.publish(MODEL, source)
  return hub
}

/** A process of its own, as a user's program is: what it had open ends with it. */
async function runClient(env: Record<string, string>, options: string[]): Promise<Vectors> {
  const args = [CLIENT, ...options, '--model', MODEL, ...TEXTS]
  const { stdout } = await runOk(nodePath(), args, { env, cwd: '/' })
  const answer: Vectors = JSON.parse(stdout)
  return answer
}
