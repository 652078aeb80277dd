import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { WireName } from '../../src/mount/index.ts'
import { makeTempDir, mountpointsBelow, removeTempDir, waitFor } from '../support/index.ts'

const SERVER = fileURLToPath(new URL('./portable-server.ts', import.meta.url))

export interface ServerOptions {
  store: string
  mountpoint: string
  /** Bytes of placeholders, under the names of their CIDs. */
  sources: string
  readOnly?: boolean
  fetchDeadlineMs?: number
}

export interface StartOptions extends Partial<ServerOptions> {
  /** A folder of an earlier mount. */
  base?: string
  /** Descriptors that the server may have at its start. */
  softLimit?: number
}

export type Order =
  | { order: 'unmount'; lazy: boolean }
  | { order: 'snapshot'; all: boolean }
  | { order: 'done' | 'hold' | 'stats' }

export type Answer =
  | { event: 'mounted' | 'broken' }
  | { event: 'done'; value: unknown }
  | { event: 'failed'; errno: string | undefined }
  | { event: 'changed'; kind: string; path: WireName }
  | { event: 'drain'; reason: string; unmounted: boolean }

/** A mount of the portable engine, served by a child. Gone when the test ends, whatever happens. */
export class PortableMount {
  readonly base: string
  readonly events: Answer[] = []
  readonly #child: ChildProcess

  private constructor(base: string, child: ChildProcess) {
    this.base = base
    this.#child = child
    child.on('message', (answer: Answer) => this.events.push(answer))
  }

  static async start(
    t: TestContext,
    { base: given, softLimit, ...rest }: StartOptions = {},
  ): Promise<PortableMount> {
    const base = given ?? makeTempDir()
    const places = {
      store: join(base, 'store'),
      mountpoint: join(base, 'mnt'),
      sources: join(base, 'sources'),
    }
    for (const place of [places.mountpoint, places.sources]) {
      mkdirSync(place, { recursive: true })
    }
    const limit = softLimit === undefined ? '' : `ulimit -Sn ${softLimit}; `
    const values = [process.execPath, SERVER, JSON.stringify({ ...places, ...rest })]
    const child = spawn('sh', ['-c', `${limit}exec "$0" "$@"`, ...values], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    let log = ''
    child.stderr?.on('data', (text) => {
      log += text
    })
    const mount = new PortableMount(base, child)
    // A mount has to be gone before its folder is removed.
    t.after(async () => {
      await mount.#end()
      if (given === undefined) await removeTempDir(base)
    })
    await waitFor(`a mount (${log})`, () => {
      if (child.exitCode !== null) throw new Error(`the server ended: ${log}`)
      return mount.events.some(({ event }) => event === 'mounted')
    })
    return mount
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  at(...names: string[]): string {
    return join(this.base, 'mnt', ...names)
  }

  /** Where the same file is on disk. */
  disk(...names: string[]): string {
    return join(this.base, 'store', 'tree', ...names)
  }

  /** @throws Error whose message is the errno */
  async ask(order: Order): Promise<unknown> {
    const before = this.events.length
    this.#child.send(order)
    const answer = await waitFor(order.order, () =>
      this.events.slice(before).find(({ event }) => event === 'done' || event === 'failed'),
    )
    if (answer.event === 'failed') throw new Error(answer.errno)
    return answer.event === 'done' ? answer.value : undefined
  }

  /** As by an administrator. */
  umount(): void {
    execFileSync('umount', ['--', this.at()])
  }

  async kill(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
    this.#detach()
  }

  async #end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit')
      this.#detach()
      this.#child.kill('SIGKILL')
      await ended
    }
    this.#detach()
  }

  #detach(): void {
    for (const mountpoint of mountpointsBelow(this.base)) {
      execFileSync('umount', ['-l', '--', mountpoint])
    }
  }
}
