/** The mount as the system sees it. This process must not touch it: it would wait for itself. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import {
  type Clock,
  type Logger,
  ModelcacheError,
  messageOf,
  type Timer,
} from '../../base/index.ts'

/** Umounts that are done elsewhere are seen within this time. */
const LOOK_EVERY_MS = 1000

/** Which mount it is. Devices are used again, by other mounts; their sources are others. */
export interface MountIdentity {
  mountpoint: string
  /** `major:minor`. */
  device: string
  source: string
}

/** The newest mount of this source on a directory; another one may have come on top of it. */
export async function findMount(
  mountpoint: string,
  fsName: string,
): Promise<MountIdentity | undefined> {
  const mounts = await readMounts()
  return mounts.findLast(
    (mount) => mount.mountpoint === mountpoint && unescaped(mount.source) === fsName,
  )
}

async function readMounts(): Promise<MountIdentity[]> {
  const table = await readFile('/proc/self/mountinfo', 'latin1')
  return table.split('\n').map((line) => {
    const fields = line.split(' ')
    const dash = fields.indexOf('-', 6)
    return {
      device: fields[2] ?? '',
      mountpoint: unescaped(fields[4] ?? ''),
      source: fields[dash + 2] ?? '',
    }
  })
}

/** proc_pid_mountinfo(5): blanks and backslashes are three octal digits, of a byte. */
function unescaped(field: string): string {
  const plain = field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
  return Buffer.from(plain, 'latin1').toString()
}

/** Where it is in the name space now, or undefined where it is gone. */
async function placeOf({ device, source }: MountIdentity): Promise<string | undefined> {
  const mounts = await readMounts()
  return mounts.find((mount) => mount.device === device && mount.source === source)?.mountpoint
}

/**
 * Unmounts by a child, since the kernel may ask this process something before it is done.
 *
 * @throws errno EBUSY while something uses the mount, unless `lazy`
 */
export async function unmount(mount: MountIdentity, lazy: boolean): Promise<void> {
  const place = await placeOf(mount)
  if (place === undefined) {
    return
  }
  const isRoot = process.geteuid?.() === 0
  const helpers = isRoot ? ['umount', 'fusermount3', 'fusermount'] : ['fusermount3', 'fusermount']
  const reasons: string[] = []
  for (const helper of helpers) {
    const flags = helper === 'umount' ? (lazy ? ['-l'] : []) : lazy ? ['-u', '-z'] : ['-u']
    const reason = await run(helper, [...flags, '--', place])
    if (reason === undefined || (await placeOf(mount)) === undefined) {
      return
    }
    reasons.push(`${helper}: ${reason}`)
    if (/busy/i.test(reason)) {
      throw refusal('EBUSY', 'something uses the mount', reasons)
    }
  }
  throw refusal('EPERM', 'unmount', reasons)
}

function refusal(errno: string, what: string, reasons: readonly string[]): ModelcacheError {
  return new ModelcacheError(`${what}: ${reasons.join('; ')}`, { code: errno, errno })
}

/** Why it failed, or undefined. */
function run(command: string, values: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { cwd: '/', env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C' } }
    execFile(command, values, options, (error, _out, text) =>
      resolve(error === null ? undefined : text.trim() || error.message),
    )
  })
}

/** Looks now and then whether the mount is still there, and calls once when it is not. */
export class MountWatch {
  readonly #mount: MountIdentity
  readonly #clock: Pick<Clock, 'setTimeout'>
  readonly #logger: Logger
  readonly #onGone: () => void
  #isOver = false
  #timer: Timer | undefined

  constructor(
    mount: MountIdentity,
    clock: Pick<Clock, 'setTimeout'>,
    logger: Logger,
    onGone: () => void,
  ) {
    this.#mount = mount
    this.#clock = clock
    this.#logger = logger
    this.#onGone = onGone
    this.#lookLater()
  }

  stop(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }

  /** Looks again after `stop`. */
  resume(): void {
    if (this.#isOver) {
      this.#isOver = false
      this.#lookLater()
    }
  }

  #lookLater(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#look().catch((error: unknown) => {
        this.#logger.error('the end of the mount cannot be told', {
          reason: messageOf(error),
          error,
        })
      })
    }, LOOK_EVERY_MS)
  }

  async #look(): Promise<void> {
    let isThere = true
    try {
      isThere = (await placeOf(this.#mount)) !== undefined
    } catch (error) {
      this.#logger.warn('the mount table cannot be read', { reason: messageOf(error) })
    }
    if (this.#isOver) {
      return
    }
    if (isThere) {
      this.#lookLater()
    } else {
      this.#isOver = true
      this.#onGone()
    }
  }
}
