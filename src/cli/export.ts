import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { fsyncDirectory, isErrno, ModelcacheError, messageOf, systemClock } from '../base/index.ts'
import { rootOption, shown } from '../config/index.ts'
import type { Context } from './context.ts'
import { DaemonAnswer } from './daemon-answer.ts'
import { callDaemon } from './daemon-call.ts'
import { locate } from './locate.ts'
import { answerFacts, sizeText } from './terminal.ts'

const PROGRESS_EVERY_MS = 1000

/** `modelcache export`. */
export function addExport(program: Command, context: Context): void {
  program
    .command('export')
    .summary('write a root into a CAR file, to carry it without a network')
    .description(
      'Commits, and writes the root with all its blocks into FILE.car, which `mount --from FILE.car` ' +
        'opens, and every IPFS program can import. Each block is verified on the way. The file is ' +
        'there as a whole or not at all.',
    )
    .argument('<DIR>', 'a mountpoint')
    .argument('<FILE>', 'the file to write; one that exists is replaced')
    .option('--root <ROOT>', 'this root instead of a new one; `modelcache log` lists them')
    .option('--json', 'answer {"root", "tree", "bytes", "open", "withheld"}')
    .addHelpText('after', '\nExample:\n  modelcache export ./model_cache ./cache.car')
    .action(async (directory: string, file: string, words: { root?: string; json?: boolean }) => {
      const root = words.root === undefined ? {} : { root: rootOption(words.root) }
      const { mount } = await locate(directory, context.cwd)
      const target = new TargetFile(resolve(context.cwd, file), context.terminal.tell)
      let answer: unknown
      try {
        answer = await callDaemon(mount.store, 'export', root, {
          signal: context.signal,
          onBytes: (bytes) => target.write(bytes),
          // A second try would write into what the first one left.
          patienceMs: 0,
        })
        await target.finish()
      } catch (error) {
        target.discard()
        throw error
      }
      const fields = new DaemonAnswer(answer)
      for (const what of ['open', 'withheld'] as const) {
        for (const one of fields.list(what)) {
          context.terminal.tell(`not in it: ${one.text('path')} (${one.text('reason')})`)
        }
      }
      const facts = { ...Object(answer), bytes: target.bytes }
      answerFacts(context.terminal, words.json, facts, [fields.text('root')])
    })
}

/** A file that gets its name when it is complete and on the disk. */
class TargetFile {
  readonly #path: string
  readonly #temporary: string
  readonly #tell: (line: string) => void
  readonly #fd: number
  #bytes = 0
  #toldAtMs = systemClock.monotonicMs()

  constructor(path: string, tell: (line: string) => void) {
    this.#path = path
    this.#temporary = join(
      dirname(path),
      `.${basename(path).slice(0, 200)}.${randomBytes(6).toString('hex')}.tmp`,
    )
    this.#tell = tell
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
      throw cannotWrite(path, 'it is a directory')
    }
    try {
      this.#fd = openSync(this.#temporary, 'wx', 0o666)
    } catch (cause) {
      throw cannotWrite(path, messageOf(cause), cause)
    }
  }

  get bytes(): number {
    return this.#bytes
  }

  write(bytes: Uint8Array): void {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.#fd, bytes, done)
      }
    } catch (cause) {
      throw cannotWrite(this.#path, messageOf(cause), cause)
    }
    this.#bytes += bytes.length
    const now = systemClock.monotonicMs()
    if (now - this.#toldAtMs >= PROGRESS_EVERY_MS) {
      this.#toldAtMs = now
      this.#tell(`${sizeText(this.#bytes)} written`)
    }
  }

  async finish(): Promise<void> {
    fsyncSync(this.#fd)
    renameSync(this.#temporary, this.#path)
    await fsyncDirectory(dirname(this.#path))
    closeSync(this.#fd)
  }

  /** Takes away what was written so far. */
  discard(): void {
    closeSync(this.#fd)
    try {
      unlinkSync(this.#temporary)
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        throw error
      }
    }
  }
}

function cannotWrite(path: string, why: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`export to ${shown(path)}: ${why}; name a place with room for it`, {
    code: 'cannot-write',
    exitCode: 1,
    cause,
  })
}
