import {
  chmodSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { errnoOf, isErrno, ModelcacheError, messageOf, utimensatNs } from '../base/index.ts'
import { rootOption } from '../config/index.ts'
import type { RestoreStep } from '../history/index.ts'
import { commitAnswer } from './commit-result.ts'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts } from './terminal.ts'

/** `modelcache restore`. */
export function addRestore(program: Command, context: Context): void {
  program
    .command('restore')
    .summary('make the mount what it was in an earlier root')
    .description(
      'Commits, and turns the tree on DIR into that of ROOT, name by name: programs see each file as ' +
        'it is or as it was, and never half of it. What is there now stays in the root that is made ' +
        'first, which is printed to standard error; keep it (`pin`) to come back. Local-only names stay ' +
        'as they are. It can be run again when it was interrupted.',
    )
    .argument('<DIR>', 'a mountpoint')
    .argument('<ROOT>', 'a root that `modelcache log` calls kept')
    .option('--json', 'answer {"root", "tree", "restored", "before", "left"}')
    .addHelpText('after', '\nExample:\n  modelcache restore ./model_cache bafy…')
    .action(async (directory: string, text: string, words: { json?: boolean }) => {
      const root = rootOption(text)
      const { mount } = await locate(directory, context.cwd)
      const { signal, terminal } = context
      const steps: RestoreStep[] = []
      const answer = new DaemonAnswer(
        await callDaemon(
          mount.store,
          'restore',
          { root },
          { signal, patienceMs: 0, onProgress: (step) => void steps.push(step as RestoreStep) },
        ),
      )
      const folder = join(mount.mountpoint, answer.text('folder'))
      const missing = answer.texts('missing')
      if (missing.length > 0) {
        rmSync(folder, { recursive: true, force: true })
        throw incomplete(root, missing)
      }
      terminal.tell(`before: ${answer.text('before')}`)
      const left = new Restoring(mount.mountpoint, folder).run(steps)
      rmSync(folder, { recursive: true, force: true })
      setRootAttributes(mount.mountpoint, answer.part('attributes'))
      const commit = commitAnswer(await callDaemon(mount.store, 'commit', {}, { signal }))
      if (answer.flag('pinned')) {
        await callDaemon(mount.store, 'unpin', { root }, { signal })
      }
      for (const path of left) {
        terminal.tell(`left: ${path} (it holds local-only names)`)
      }
      if (commit.tree !== answer.text('tree') && left.length === 0) {
        throw new ModelcacheError(
          `restore ${root}: programs changed the tree meanwhile; it is now ${commit.root}, and not all of ` +
            'the root: end them, and restore again',
          { code: 'changed-meanwhile', exitCode: 4 },
        )
      }
      const { root: now, tree } = commit
      const facts = { root: now, tree, restored: root, before: answer.text('before'), left }
      answerFacts(terminal, words.json, facts, [now])
    })
}

/** Does the steps through the mount, as any program would. */
class Restoring {
  readonly #mountpoint: string
  readonly #folder: string
  /** Directories that could not be removed: something that is in no root is in them. */
  readonly #left: string[] = []
  #links = 0

  constructor(mountpoint: string, folder: string) {
    this.#mountpoint = mountpoint
    this.#folder = folder
  }

  run(steps: readonly RestoreStep[]): string[] {
    for (const step of steps) {
      try {
        this.#do(step)
      } catch (cause) {
        throw new ModelcacheError(
          `restore: ${step.path}: ${messageOf(cause)}; what was done so far stays, restore again`,
          { code: errnoOf(cause) ?? 'failed', exitCode: 1, cause },
        )
      }
    }
    return this.#left
  }

  #do(step: RestoreStep): void {
    const path = join(this.#mountpoint, step.path)
    switch (step.do) {
      case 'remove':
        this.#remove(path, step.path, step.directory)
        break
      case 'directory':
        makeDirectory(path)
        break
      case 'file':
        renameSync(join(this.#folder, String(step.staged)), path)
        break
      case 'empty':
        this.#replace(path, (staged) => writeFileSync(staged, '', { flag: 'wx' }))
        break
      case 'link':
        this.#replace(path, (staged) => symlinkSync(step.target, staged))
        break
      case 'attributes':
        setAttributes(path, step)
        break
    }
  }

  #remove(path: string, name: string, directory: boolean): void {
    try {
      if (directory) {
        rmdirSync(path)
      } else {
        unlinkSync(path)
      }
    } catch (error) {
      if (directory && isErrno(error, 'ENOTEMPTY')) {
        this.#left.push(name)
      } else if (!isErrno(error, 'ENOENT')) {
        throw error
      }
    }
  }

  #replace(path: string, make: (staged: string) => void): void {
    this.#links += 1
    const staged = join(this.#folder, `new-${this.#links}`)
    make(staged)
    renameSync(staged, path)
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, 0o700)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) {
      throw error
    }
  }
}

interface Attributes {
  mode: number
  mtimeNs: string
  link: boolean
}

/** Only what differs: each change makes a program's copy of the attributes stale. */
function setAttributes(path: string, { mode, mtimeNs, link }: Attributes): void {
  const stats = lstatSync(path, { bigint: true })
  if (!link && Number(stats.mode & 0o7777n) !== mode) {
    chmodSync(path, mode)
  }
  if (stats.mtimeNs !== BigInt(mtimeNs)) {
    utimensatNs(path, BigInt(mtimeNs))
  }
}

function setRootAttributes(mountpoint: string, attributes: DaemonAnswer): void {
  const mode = attributes.number('mode')
  setAttributes(mountpoint, { mode, mtimeNs: attributes.text('mtimeNs'), link: false })
}

function incomplete(root: string, missing: readonly string[]): ModelcacheError {
  const rest = missing.length > 1 ? ` and ${missing.length - 1} more` : ''
  return new ModelcacheError(
    `restore ${root}: nobody has the bytes of ${missing[0]}${rest}: overwritten in place, or dropped ` +
      'before the root was kept; mount with a --peer that has them',
    { code: 'incomplete-root', exitCode: 1 },
  )
}
