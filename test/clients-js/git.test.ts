import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isInstalled } from '../support/debian-package.ts'
import {
  FUSE_ENGINES,
  has,
  type Mount,
  makeTempDir,
  readTree,
  removeTempDir,
  type TreeEntry,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { type Git, gitEnvironment, gitWith, isBoundToPlace } from './git.ts'
import { gitStory, makeOrigin, STATUS } from './git-story.ts'

const COMPARED = { ignore: isBoundToPlace }

/** The repositories of the story that have a working tree. */
const WITH_FILES = ['work', 'worktree', 'again']

describe('git', { skip: !isInstalled('git') && 'git is not installed' }, () => {
  let scratch: string
  let git: Git
  let origin: string
  /** The same story in a plain directory. */
  let oracle: { said: string[]; tree: TreeEntry[] }

  before(async () => {
    scratch = makeTempDir()
    git = gitWith(gitEnvironment(join(scratch, 'home')))
    origin = await makeOrigin(git, scratch)
    const plain = join(scratch, 'plain')
    mkdirSync(plain)
    const said = await gitStory(git, plain, origin)
    oracle = { said, tree: await readTree(plain, COMPARED) }
  })
  after(() => removeTempDir(scratch))

  for (const engine of FUSE_ENGINES) {
    it(`${engine}: does in a mount what it does in a plain directory, and keeps it`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine })
      const assertTree = async (root: string, when: string) => {
        const differences = treeDifferences(oracle.tree, await readTree(root, COMPARED))
        assert.deepEqual(differences, [], when)
      }
      assert.deepEqual(await gitStory(git, mount.mountpoint, origin), oracle.said)
      await assertTree(mount.mountpoint, 'as git left it')

      await mount.commitAll()
      await assertUnchanged(git, mount, 'after a commit of the mount', ['diff-files'])
      await mount.unmount()
      await mount.mount()
      await assertUnchanged(git, mount, 'after unmount and mount', BUT_CTIME)
      await assertTree(mount.mountpoint, 'after unmount and mount')

      // `status` wrote a new index: the root before it is not whole any more.
      const { root } = await mount.commitAll()
      const { address } = await mount.share()
      const far = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
      await assertWhole(git, far.mountpoint)
      await assertTree(far.mountpoint, 'on another machine')
    })
  }
})

/**
 * The first settling of a file makes a link of its own to it, which moves the ctime. An engine hides
 * that for as long as it lives; the next mount shows what is on the disk.
 */
const BUT_CTIME = ['-c', 'core.trustctime=false', 'diff-files']

/**
 * What git has noted of its files (inode number, size, times) is still so. `diff-files` tells it,
 * and unlike `status` it mends nothing.
 */
async function assertUnchanged(
  git: Git,
  mount: Mount,
  when: string,
  diffFiles: string[],
): Promise<void> {
  for (const name of WITH_FILES) {
    const work = join(mount.mountpoint, name)
    assert.equal(await git(work, ...diffFiles, '--name-only'), '', `${name} ${when}`)
    assert.equal(await git(work, ...STATUS), '', `${name} ${when}`)
  }
}

/** On another machine, where nothing but the root came from: files and objects are all there. */
async function assertWhole(git: Git, root: string): Promise<void> {
  for (const name of ['work', 'again', 'shared.git']) {
    const said = await git(join(root, name), 'fsck', '--full', '--strict', '--no-progress')
    assert.equal(said, '', name)
  }
  for (const name of ['work', 'again']) {
    assert.equal(await git(join(root, name), ...STATUS), '', name)
  }
}
