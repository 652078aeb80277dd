import { readFile } from 'node:fs/promises'
import { isWithin, MOUNT_TYPE, SOURCE_PREFIX } from '../config/index.ts'

/** One line of /proc/self/mountinfo. */
export interface MountEntry {
  readonly mountpoint: string
  readonly type: string
  readonly source: string
  /** `major:minor`, decimal. */
  readonly device: string
}

/** A FUSE mount of ours. */
export interface FuseMount {
  readonly mountpoint: string
  readonly store: string
  readonly device: string
}

/** All mounts of this process's mount namespace, oldest first. */
export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'))
}

/**
 * Parses mountinfo (proc_pid_mountinfo(5)): fields separated by spaces, a lone `-` before type and
 * source, and blanks, backslashes and `#` as three octal digits.
 */
export function parseMountTable(text: string): MountEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ')
      const dash = fields.indexOf('-', 6)
      return {
        mountpoint: unescaped(fields[4] ?? ''),
        type: unescaped(fields[dash + 1] ?? ''),
        source: unescaped(fields[dash + 2] ?? ''),
        device: fields[2] ?? '',
      }
    })
}

/** Escapes are bytes, so a name is put together as bytes before it is read as UTF-8. */
function unescaped(field: string): string {
  if (!field.includes('\\')) {
    return field
  }
  const bytes = Buffer.from(field)
  const plain: number[] = []
  for (let at = 0; at < bytes.length; at += 1) {
    const digits = bytes.toString('latin1', at + 1, at + 4)
    if (bytes[at] === 0x5c && /^[0-7]{3}$/.test(digits)) {
      plain.push(Number.parseInt(digits, 8))
      at += 3
    } else {
      plain.push(bytes[at] ?? 0)
    }
  }
  return Buffer.from(plain).toString('utf8')
}

/** Our mount that this entry is, if it is one. */
export function fuseMount(entry: MountEntry): FuseMount | undefined {
  if (entry.type !== MOUNT_TYPE || !entry.source.startsWith(SOURCE_PREFIX)) {
    return undefined
  }
  const { mountpoint, device } = entry
  return { mountpoint, device, store: entry.source.slice(SOURCE_PREFIX.length) }
}

/** All of ours, each mountpoint once: what lies on top of it. */
export function fuseMounts(table: readonly MountEntry[]): FuseMount[] {
  const byPlace = new Map<string, FuseMount>()
  for (const entry of table) {
    const own = fuseMount(entry)
    if (own === undefined) {
      byPlace.delete(entry.mountpoint)
    } else {
      byPlace.set(entry.mountpoint, own)
    }
  }
  return [...byPlace.values()]
}

/** What is mounted on exactly this real path, on top if several are. */
export function mountedOn(table: readonly MountEntry[], path: string): MountEntry | undefined {
  return table.findLast((entry) => entry.mountpoint === path)
}

/** The mount that a real path lies in: the longest mountpoint, the newest of equals. */
export function mountOf(table: readonly MountEntry[], path: string): MountEntry | undefined {
  let found: MountEntry | undefined
  for (const entry of table) {
    const deeper = entry.mountpoint.length >= (found?.mountpoint.length ?? 0)
    if (deeper && isWithin(path, entry.mountpoint)) {
      found = entry
    }
  }
  return found
}

/** Mounts below this one: they keep it busy. */
export function mountsBelow(table: readonly MountEntry[], mountpoint: string): MountEntry[] {
  return table.filter(
    (entry) => entry.mountpoint !== mountpoint && isWithin(entry.mountpoint, mountpoint),
  )
}
