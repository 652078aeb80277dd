import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isInstalled, provideDebianPackage } from '../support/debian-package.ts'
import {
  FUSE_ENGINES,
  has,
  makeTempDir,
  readTree,
  removeTempDir,
  type TreeEntry,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { type Git, gitEnvironment, gitWith, isBoundToPlace } from './git.ts'
import { LFS_CONFIGURATION, lfsStory, publishModel, WEIGHTS_BYTES } from './lfs-story.ts'

const missing = isInstalled('git') ? await provideDebianPackage('git-lfs') : 'git is not installed'

/** In `tmp` git-lfs leaves now one, now three empty files, in a plain directory as well. */
const isPassing = (path: string) => isBoundToPlace(path) || /\.git\/lfs\/tmp\//.test(path)

describe('git-lfs', { skip: missing }, () => {
  let scratch: string
  let git: Git
  /** The same story in a plain directory. */
  let oracle: Told

  before(async () => {
    scratch = makeTempDir()
    git = gitWith(gitEnvironment(join(scratch, 'home'), LFS_CONFIGURATION))
    const plain = join(scratch, 'plain')
    mkdirSync(plain)
    oracle = await told(git, plain, scratch)
  })
  after(() => removeTempDir(scratch))

  it('has weights in its working tree, and no pointers', () => {
    const weights = oracle.tree.find(({ path }) => path === 'model/model.safetensors')
    assert.equal(weights?.sizeBytes, WEIGHTS_BYTES)
  })

  for (const engine of FUSE_ENGINES) {
    it(`${engine}: clones, pulls, switches and publishes weights in a mount`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      const got = await told(git, mount.mountpoint, scratch)
      assert.deepEqual(got.said, oracle.said)
      assert.deepEqual(treeDifferences(oracle.tree, got.tree), [])

      await mount.commitAll()
      await mount.unmount()
      await mount.mount()
      const later = await readTree(mount.mountpoint, { ignore: isPassing })
      assert.deepEqual(treeDifferences(oracle.tree, later), [])
      const check = await git(join(mount.mountpoint, 'model'), 'lfs', 'fsck')
      assert.match(check, /Git LFS fsck OK/)
    })
  }
})

interface Told {
  /** What git said. */
  said: string[]
  tree: TreeEntry[]
}

/**
 * The story in `root`, with a publisher of its own at the same place as any other's: what one
 * story publishes is not there for the next, and what git notes of the place is the same.
 */
async function told(git: Git, root: string, scratch: string): Promise<Told> {
  const place = join(scratch, 'publisher')
  mkdirSync(place)
  const said = await lfsStory(git, root, await publishModel(git, place))
  rmSync(place, { recursive: true })
  return { said, tree: await readTree(root, { ignore: isPassing }) }
}
