import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Git } from './git.ts'
import { steadyBytes } from './git-story.ts'

/** What `git lfs install --skip-repo` writes. */
export const LFS_CONFIGURATION = `[filter "lfs"]
\tclean = git-lfs clean -- %f
\tsmudge = git-lfs smudge -- %f
\tprocess = git-lfs filter-process
\trequired = true
`

/** Several MiB, so that it has more than one leaf; small next to real weights. */
export const WEIGHTS_BYTES = 5_000_001

const ATTRIBUTES = 'filter=lfs diff=lfs merge=lfs -text'

/** Who publishes the model: a bare repository, and a working tree to change it from. */
export interface Publisher {
  /** `file://…`, which git-lfs serves without a server. */
  readonly url: string
  /** Publishes other weights and one more file. */
  publishAgain(): Promise<void>
}

/** A model as it lies on a hub: weights in LFS, the rest in git; a branch with other weights. */
export async function publishModel(git: Git, scratch: string): Promise<Publisher> {
  const [source, bare] = [join(scratch, 'publisher'), join(scratch, 'hub.git')]
  const url = `file://${bare}`
  for (const path of [source, bare]) mkdirSync(path)
  await git(bare, 'init', '--quiet', '--bare')
  await git(source, 'init', '--quiet')
  await git(source, 'remote', 'add', 'origin', url)
  // As the hub writes it. `git lfs track` writes several patterns in any order.
  const patterns = ['*.safetensors', '*.bin'].map((name) => `${name} ${ATTRIBUTES}\n`)
  writeFileSync(join(source, '.gitattributes'), patterns.join(''))
  writeFileSync(join(source, 'config.json'), '{"model_type": "bert"}\n')
  await publish(git, source, 'main', 'model.safetensors', 1)
  await git(source, 'switch', '--quiet', '--create', 'int8')
  await publish(git, source, 'int8', 'model.safetensors', 2)
  await git(source, 'switch', '--quiet', 'main')
  return {
    url,
    publishAgain: async () => {
      await publish(git, source, 'main', 'model.safetensors', 3)
      await publish(git, source, 'main', 'pytorch_model.bin', 4)
    },
  }
}

async function publish(git: Git, source: string, branch: string, name: string, seed: number) {
  writeFileSync(join(source, name), steadyBytes(WEIGHTS_BYTES, seed))
  await git(source, 'add', '--all')
  await git(source, 'commit', '--quiet', '--message', `Weights ${seed}`)
  await git(source, 'push', '--quiet', 'origin', branch)
}

/**
 * What a user of a model does in `root`: clone, look, pull what was published meanwhile, switch to
 * other weights and back, clone without the weights and get them later, publish weights of his own.
 *
 * @returns what git said at each step, with the place taken out
 */
export async function lfsStory(git: Git, root: string, publisher: Publisher): Promise<string[]> {
  const said: string[] = []
  const step = async (directory: string, ...args: string[]) => {
    const text = await git(join(root, directory), ...args)
    said.push(`${args.join(' ')}\n${text}`.replaceAll(root, '<root>'))
  }
  await step('.', 'clone', '--quiet', publisher.url, 'model')
  await step('model', 'lfs', 'ls-files', '--long', '--size')
  await step('model', 'lfs', 'fsck')
  await publisher.publishAgain()
  await step('model', 'pull', '--quiet')
  await step('model', 'lfs', 'status', '--porcelain')
  await step('model', 'switch', '--quiet', 'int8')
  await step('model', 'status', '--porcelain')
  await step('model', 'switch', '--quiet', 'main')

  const bare = [
    '-c',
    'filter.lfs.smudge=',
    '-c',
    'filter.lfs.process=',
    '-c',
    'filter.lfs.required=false',
  ]
  await step('.', ...bare, 'clone', '--quiet', publisher.url, 'pointers')
  await step(
    'pointers',
    'grep',
    '--no-index',
    '--count',
    'git-lfs.github.com',
    '--',
    '*.safetensors',
  )
  await step('pointers', 'lfs', 'pull', '--include', 'model.safetensors')
  await step('pointers', 'lfs', 'ls-files')

  await step('model', 'switch', '--quiet', '--create', 'mine')
  writeFileSync(join(root, 'model/model.safetensors'), steadyBytes(WEIGHTS_BYTES, 5))
  await step('model', 'commit', '--quiet', '--all', '--message', 'Mine')
  await step('model', 'push', '--quiet', 'origin', 'mine')
  await step('model', 'lfs', 'prune', '--recent')
  await step('model', 'lfs', 'fsck')
  for (const one of ['model', 'pointers']) {
    await step(one, 'fsck', '--full', '--strict', '--no-progress')
    await step(one, 'status', '--porcelain', '--untracked-files=all')
  }
  return said
}
