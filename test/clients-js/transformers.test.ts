import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Hub, startHub } from '../hub/index.ts'
import { writeTinyModel } from '../skillset/tiny-model.ts'
import {
  FUSE_ENGINES,
  has,
  makeTempDir,
  readTree,
  removeTempDir,
  scrubbedEnvironment,
  type TreeEntry,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { runClient } from './programs.ts'

const MODEL = 'tiny/bert'
/** 16 MiB of weights beside the model, of which a sentence needs a few places. */
const WEIGHTS = { rows: 131_072, externalData: true }

describe('@huggingface/transformers', () => {
  let scratch: string
  let hub: Hub
  /** The same program in a plain directory. */
  let oracle: { tree: TreeEntry[]; vectors: unknown }

  before(async () => {
    scratch = makeTempDir()
    const source = join(scratch, 'model')
    await writeTinyModel(source, WEIGHTS)
    hub = await startHub()
    await hub.publish(MODEL, source)
    const plain = join(scratch, 'plain')
    mkdirSync(plain)
    const vectors = await load(plain, hub.url)
    oracle = { vectors, tree: await readTree(plain) }
  })
  after(async () => {
    await hub.close()
    await removeTempDir(scratch)
  })

  /** @param url of a hub; without one only the cache is used */
  const load = (root: string, url?: string) => {
    const args = [join(root, 'transformers.js'), MODEL, ...(url === undefined ? [] : [url])]
    return runClient('transformers-client', args, scrubbedEnvironment(join(scratch, 'home')))
  }

  it('gives a vector for each text', () => {
    const vectors = oracle.vectors
    assert.ok(Array.isArray(vectors))
    assert.deepEqual(
      vectors.map((vector: unknown[]) => vector.length),
      [32, 32],
    )
  })

  for (const engine of FUSE_ENGINES) {
    it(`${engine}: two programs fill one cache at once, later ones need no hub`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      const { mountpoint } = mount
      const assertTree = async (root: string, when: string) =>
        assert.deepEqual(treeDifferences(oracle.tree, await readTree(root)), [], when)

      const both = await Promise.all([load(mountpoint, hub.url), load(mountpoint, hub.url)])
      assert.deepEqual(both, [oracle.vectors, oracle.vectors])
      await assertTree(mountpoint, 'as the programs left it')
      hub.forget()
      assert.deepEqual(await load(mountpoint), oracle.vectors)
      assert.deepEqual(hub.requests, [])

      const { root } = await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      assert.deepEqual(await load(mountpoint), oracle.vectors)
      const { address } = await mount.share()
      const far = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
      assert.deepEqual(await load(far.mountpoint), oracle.vectors)
      await assertTree(far.mountpoint, 'on another machine')
    })
  }
})
