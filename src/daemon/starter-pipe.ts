import { writeSync } from 'node:fs'
import { isErrno, ModelcacheError, messageOf } from '../base/index.ts'
import type { FetchProgress } from './fetch-all.ts'

const STDOUT = 1

/** Lines of JSON to the command line, which reads them until the mount is ready (docs/protocol.md). */
export class StarterPipe {
  #ended = false

  progress(progress: FetchProgress): void {
    this.#tell({ progress })
  }

  ready(passthrough: { active: boolean; reason: string }): void {
    this.#last({ ready: true, pid: process.pid, passthrough })
  }

  failed(error: unknown): void {
    const known = error instanceof ModelcacheError ? error : undefined
    const code = known?.code ?? 'start-failed'
    const exitCode = known?.exitCode ?? 1
    this.#last({ error: { code, message: messageOf(error), exitCode } })
  }

  #last(line: object): void {
    if (!this.#ended) {
      this.#tell(line)
      this.#ended = true
    }
  }

  #tell(line: object): void {
    try {
      writeSync(STDOUT, `${JSON.stringify(line)}\n`)
    } catch (error) {
      // Whoever waited may be gone; the mount is there for others.
      if (!isErrno(error, 'EPIPE')) {
        throw error
      }
    }
  }
}
