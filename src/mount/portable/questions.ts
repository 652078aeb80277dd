import { closeSync, openSync } from 'node:fs'
import { type Clock, type Logger, ModelcacheError, messageOf, O_PATH } from '../../base/index.ts'
import { type InodeId, inodeKey } from '../../tree/index.ts'
import type { EngineHandlers, Subject } from '../engine.ts'
import { toBytes } from './native-path.ts'
import { procPath } from './places.ts'

/** The daemon's own deadline comes first: its line names the CID and the reason. */
const SLACK_MS = 5000

/** The file or directory that a question is about. */
export interface Asked {
  id: InodeId
  /** Undefined where it has no name any more. */
  path: string | undefined
  /** A descriptor of it; a question keeps one of its own. */
  fd: number
}

/** Questions to the daemon, each with a deadline, and each asked once however many wait for it. */
export class Questions {
  readonly #deadlineMs: number
  readonly #clock: Pick<Clock, 'setTimeout'>
  readonly #logger: Logger
  readonly #handlers = Promise.withResolvers<EngineHandlers>()
  readonly #running = new Map<string, Promise<unknown>>()

  constructor(fetchDeadlineMs: number, clock: Pick<Clock, 'setTimeout'>, logger: Logger) {
    this.#deadlineMs = fetchDeadlineMs + SLACK_MS
    this.#clock = clock
    this.#logger = logger
  }

  /** The daemon is ready; until then questions wait. */
  open(handlers: EngineHandlers): void {
    this.#handlers.resolve(handlers)
  }

  list(asked: Asked): Promise<void> {
    return this.#ask(`list ${inodeKey(asked.id)}`, asked, (handlers, subject) =>
      handlers.list(subject),
    )
  }

  fill(asked: Asked, start: number, end: number): Promise<{ complete: boolean }> {
    const what = `fill ${inodeKey(asked.id)} ${start} ${end}`
    return this.#ask(what, asked, (handlers, subject) => handlers.fill(subject, start, end - start))
  }

  detach(asked: Asked): Promise<void> {
    return this.#ask(`detach ${inodeKey(asked.id)}`, asked, (handlers, { id }) =>
      handlers.detach(id),
    )
  }

  async cid(asked: Asked): Promise<string> {
    const what = `cid ${inodeKey(asked.id)}`
    const cid = await this.#ask(what, asked, (handlers, subject) => handlers.cid(subject))
    return cid.toString()
  }

  #ask<T>(
    what: string,
    asked: Asked,
    call: (handlers: EngineHandlers, subject: Subject) => Promise<T>,
  ): Promise<T> {
    const running = this.#running.get(what) as Promise<T> | undefined
    const answer = running ?? this.#begin(what, asked, call)
    return this.#withDeadline(what, answer)
  }

  #begin<T>(
    what: string,
    { id, path, fd }: Asked,
    call: (handlers: EngineHandlers, subject: Subject) => Promise<T>,
  ): Promise<T> {
    const own = openSync(procPath(fd), O_PATH)
    const named = path === undefined || path.isWellFormed() ? path : toBytes(path)
    const subject = { id, path: named ?? '', at: procPath(own) }
    const answer = this.#handlers.promise
      .then((handlers) => call(handlers, subject))
      .finally(() => {
        this.#running.delete(what)
        closeSync(own)
      })
    this.#running.set(what, answer)
    return answer
  }

  /** A program waits no longer than this; the question goes on. */
  async #withDeadline<T>(what: string, answer: Promise<T>): Promise<T> {
    const { promise: deadline, reject } = Promise.withResolvers<never>()
    const timer = this.#clock.setTimeout(() => {
      this.#logger.error(`${what}: no answer`, { deadlineMs: this.#deadlineMs })
      reject(new ModelcacheError(`${what}: no answer`, { code: 'deadline', errno: 'EIO' }))
    }, this.#deadlineMs)
    try {
      return await Promise.race([answer, deadline])
    } finally {
      timer.cancel()
    }
  }
}

/** One line for a question that failed. */
export function logFailure(logger: Logger, what: string, error: unknown): void {
  logger.error(`${what}: failed`, { reason: messageOf(error) })
}
