import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, statSync } from 'node:fs'
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
  waitFor,
  withMount,
} from '../support/index.ts'
import { runClient, startClient } from './programs.ts'

const MODEL = 'tiny/bert'
/** 4 MiB of weights beside the model: several leaves. */
const WEIGHTS = { rows: 32_768, externalData: true }

describe('@huggingface/hub', () => {
  let scratch: string
  let hub: Hub
  /** The same downloads in a plain directory. */
  let oracle: { tree: TreeEntry[]; content: unknown }

  before(async () => {
    scratch = makeTempDir()
    for (const [name, seed] of [
      ['first', 1],
      ['second', 2],
    ] as const) {
      await writeTinyModel(join(scratch, name), { ...WEIGHTS, seed })
    }
    hub = await startHub()
    const plain = join(scratch, 'plain')
    mkdirSync(plain)
    await downloadBoth(plain)
    oracle = { tree: await readTree(plain), content: await content(plain) }
  })
  after(async () => {
    await hub.close()
    await removeTempDir(scratch)
  })

  const clientEnv = (cache: string) =>
    scrubbedEnvironment(join(scratch, 'home'), { HF_HOME: cache })
  const download = (cache: string) =>
    runClient('hub-client', ['download', hub.url, MODEL], clientEnv(cache))
  const content = (cache: string) => runClient('hub-client', ['read'], clientEnv(cache))
  const publish = (name: 'first' | 'second') => hub.publish(MODEL, join(scratch, name))

  /** A snapshot, and another one of what was published meanwhile; they share most blobs. */
  async function downloadBoth(cache: string): Promise<void> {
    await publish('first')
    await download(cache)
    await publish('second')
    await download(cache)
  }

  async function assertSame(cache: string, when: string): Promise<void> {
    assert.deepEqual(treeDifferences(oracle.tree, await readTree(cache)), [], when)
    assert.deepEqual(await content(cache), oracle.content, when)
  }

  it('has in its cache what the hub has', () => {
    const blobs = oracle.tree.filter(
      ({ path, type }) => path.includes('/blobs/') && type === 'file',
    )
    const weights = blobs.filter(({ sizeBytes }) => sizeBytes === 32_768 * 32 * 4)
    assert.equal(weights.length, 2, 'weights of two versions')
    for (const { path, sha256 } of weights) assert.ok(path.endsWith(`/blobs/${sha256}`))
  })

  for (const engine of FUSE_ENGINES) {
    it(`${engine}: fills its cache in a mount as in a plain directory, and finds it again`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      await downloadBoth(mount.mountpoint)
      await assertSame(mount.mountpoint, 'as the client left it')

      hub.forget()
      await download(mount.mountpoint)
      assert.deepEqual(
        hub.requests.filter(({ path }) => /\/(resolve|lfs)\//.test(path)),
        [],
        'what is in the cache is not downloaded again',
      )
      await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      await assertSame(mount.mountpoint, 'after unmount and mount')
    })

    it(`${engine}: is killed halfway, and what it downloads then is whole`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      const cache = mount.mountpoint
      await publish('first')
      hub.rules.bytesPerSecond = 1_000_000
      const args = ['download', hub.url, MODEL]
      const client = startClient('hub-client', args, clientEnv(cache))
      try {
        await waitFor('a part of the weights', () => partialBytes(cache) > 500_000)
      } finally {
        await client.kill()
        hub.rules.bytesPerSecond = undefined
      }
      await mount.commitAll()
      assert.ok(partialBytes(cache) > 500_000, 'what was written before the kill is still there')
      await downloadBoth(cache)
      await assertSame(cache, 'after the kill')
    })
  }
})

/** Bytes in the files that are being downloaded. */
function partialBytes(cache: string): number {
  const blobs = join(cache, 'hub', `models--${MODEL.replace('/', '--')}`, 'blobs')
  return readdirSync(blobs)
    .filter((name) => name.endsWith('.incomplete'))
    .map((name) => statSync(join(blobs, name)).size)
    .reduce((sum, size) => sum + size, 0)
}
