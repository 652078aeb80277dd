import { appendFileSync, chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Git } from './git.ts'

/** Bytes that do not compress and are the same everywhere, by xorshift32. */
export function steadyBytes(sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  let state = seed | 1
  for (let index = 0; index + 4 <= sizeBytes; index += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes.writeInt32LE(state, index)
  }
  return bytes
}

/** A bare repository with two branches and a tag: small files, a large one, a link, a program. */
export async function makeOrigin(git: Git, scratch: string): Promise<string> {
  const source = join(scratch, 'source')
  mkdirSync(join(source, 'many/deep'), { recursive: true })
  await git(source, 'init', '--quiet')
  for (let number = 0; number < 200; number += 1) {
    writeFileSync(join(source, 'many', `file ${number}.txt`), `line ${number}\n`.repeat(20))
  }
  writeFileSync(join(source, 'many/deep/größe.bin'), steadyBytes(3_000_000, 7))
  writeFileSync(join(source, 'run.sh'), '#!/bin/sh\necho ran\n')
  chmodSync(join(source, 'run.sh'), 0o755)
  // A name like that of a lock file, and yet content: it must arrive on another machine.
  writeFileSync(join(source, 'uv.lock'), 'version = 1\n')
  symlinkSync('many/deep', join(source, 'link'))
  await git(source, 'add', '--all')
  await git(source, 'commit', '--quiet', '--message', 'Begin')
  await git(source, 'tag', 'v1')
  await git(source, 'switch', '--quiet', '--create', 'other')
  rmSync(join(source, 'many/file 1.txt'))
  writeFileSync(join(source, 'many/file 2.txt'), 'another text\n')
  writeFileSync(join(source, 'link.txt'), 'was not there\n')
  rmSync(join(source, 'link'))
  mkdirSync(join(source, 'link'))
  writeFileSync(join(source, 'link/file'), 'a directory in the place of a link\n')
  await git(source, 'add', '--all')
  await git(source, 'commit', '--quiet', '--message', 'Change')
  await git(source, 'switch', '--quiet', 'main')
  const origin = join(scratch, 'origin.git')
  await git(scratch, 'clone', '--quiet', '--bare', source, origin)
  return origin
}

/**
 * A day with git in `root`: clone, commits, branches, stash, rebase, merge, a worktree, a push to
 * a repository that lies beside it, packing and checking.
 *
 * @returns what git said at each step, with the place taken out
 */
export async function gitStory(git: Git, root: string, origin: string): Promise<string[]> {
  const said: string[] = []
  const work = join(root, 'work')
  const tree = join(root, 'worktree')
  const inside =
    (directory: string) =>
    async (...args: string[]) => {
      const text = await git(directory, ...args)
      said.push(`${args.join(' ')}\n${text}`.replaceAll(root, '<root>'))
    }
  const at = inside(work)

  await inside(root)('clone', '--quiet', `file://${origin}`, 'work')
  await at('status', '--porcelain=v2', '--branch')
  await cloneAndCommit(work, at)
  await stashAndSwitch(work, at)
  await at('worktree', 'add', '--quiet', '-b', 'side', tree, 'v1')
  writeFileSync(join(tree, 'side.txt'), 'made in the worktree\n')
  await inside(tree)('add', 'side.txt')
  await inside(tree)('commit', '--quiet', '--message', 'From the worktree')
  await at('merge', '--quiet', '--no-edit', 'side')
  await at('worktree', 'list', '--porcelain')

  await inside(root)('init', '--quiet', '--bare', 'shared.git')
  await at('push', '--quiet', '../shared.git', 'main', 'side', 'v1')
  // A clone by path links the objects; the path itself must not show in what is compared.
  await inside(root)(...UNLOGGED, 'clone', '--quiet', 'shared.git', 'again')
  await inside(join(root, 'again'))('remote', 'set-url', 'origin', '../shared.git')
  await at('gc', '--quiet', '--prune=now')
  await at('count-objects', '--verbose')
  for (const one of [work, tree, join(root, 'again'), join(root, 'shared.git')]) {
    await inside(one)('fsck', '--full', '--strict', '--no-progress')
  }
  for (const one of [work, tree, join(root, 'again')]) await inside(one)(...STATUS)
  await at('ls-files', '--stage')
  await at('log', '--graph', '--all', '--format=%H %s')
  return said
}

/** Empty for a clean working tree. */
export const STATUS = ['status', '--porcelain', '--untracked-files=all', '--ignored']

const UNLOGGED = ['-c', 'core.logAllRefUpdates=false']

type At = (...args: string[]) => Promise<void>

async function cloneAndCommit(work: string, at: At): Promise<void> {
  writeFileSync(join(work, 'new.txt'), 'a new file\n')
  appendFileSync(join(work, 'many/file 3.txt'), 'one more line\n')
  chmodSync(join(work, 'many/file 4.txt'), 0o755)
  rmSync(join(work, 'many/file 5.txt'))
  await at('mv', 'many/file 6.txt', 'moved.txt')
  await at('status', '--porcelain')
  await at('add', '--all')
  await at('commit', '--quiet', '--message', 'Work')
}

async function stashAndSwitch(work: string, at: At): Promise<void> {
  appendFileSync(join(work, 'new.txt'), 'not committed\n')
  writeFileSync(join(work, 'untracked.txt'), 'not known\n')
  await at('stash', 'push', '--quiet', '--include-untracked')
  await at(...STATUS)
  await at('switch', '--quiet', 'other')
  await at(...STATUS)
  await at('rebase', '--quiet', 'main')
  await at('switch', '--quiet', 'main')
  await at('stash', 'pop', '--quiet')
  await at(...STATUS)
  await at('restore', 'new.txt')
  await at('clean', '--quiet', '--force')
  await at(...STATUS)
}
