import { readdir, readFile, readlink } from 'node:fs/promises'
import { codeOf } from '../base/index.ts'
import { isWithin } from '../config/index.ts'
import { mountsBelow, readMountTable } from './mount-table.ts'

/** A process that keeps a mount busy. */
export interface Holder {
  readonly pid: number
  /** Its command, as `ps` shows it. */
  readonly name: string
  /** How it holds the mount: `working directory`, `open file config.json`, … */
  readonly how: string
}

/** One line is enough for a person to know which program to end. */
const MAX_HOLDERS = 50

/**
 * The processes that keep a mount busy, found as fuser(1) does: by working and root directory,
 * program, open files and mappings of every process that this user may look into.
 */
export async function findHolders(mountpoint: string): Promise<Holder[]> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number)
  const holders: Holder[] = []
  for (const pid of pids) {
    const how = pid === process.pid ? undefined : await howHeld(pid, mountpoint)
    if (how !== undefined) {
      holders.push({ pid, name: await commandOf(pid), how })
    }
    if (holders.length === MAX_HOLDERS) {
      break
    }
  }
  return holders
}

/** What keeps a mount busy, one line each: processes, and mounts inside it. */
export async function holderLines(mountpoint: string): Promise<string[]> {
  const inner = mountsBelow(await readMountTable(), mountpoint)
  const holders = await findHolders(mountpoint)
  return [
    ...holders.map(({ pid, name, how }) => `process ${pid} (${name}): ${how}`),
    ...inner.map((entry) => `a mount inside it: ${entry.mountpoint} (${entry.type})`),
  ]
}

async function howHeld(pid: number, mountpoint: string): Promise<string | undefined> {
  const links: [string, string][] = [
    ['cwd', 'working directory'],
    ['root', 'root directory'],
    ['exe', 'running program'],
  ]
  for (const [link, what] of links) {
    if (leadsInto(await tryReadLink(`/proc/${pid}/${link}`), mountpoint)) {
      return what
    }
  }
  for (const fd of await tryList(`/proc/${pid}/fd`)) {
    const target = await tryReadLink(`/proc/${pid}/fd/${fd}`)
    if (leadsInto(target, mountpoint)) {
      return `open file ${target.slice(mountpoint.length + 1) || '.'}`
    }
  }
  return await mappedFile(pid, mountpoint)
}

async function mappedFile(pid: number, mountpoint: string): Promise<string | undefined> {
  for (const line of (await tryRead(`/proc/${pid}/maps`)).split('\n')) {
    const at = line.indexOf('/')
    if (at >= 0 && leadsInto(line.slice(at), mountpoint)) {
      return `mapped file ${line.slice(at + mountpoint.length + 1)}`
    }
  }
  return undefined
}

function leadsInto(target: string | undefined, mountpoint: string): target is string {
  return target?.startsWith('/') === true && isWithin(target, mountpoint)
}

async function commandOf(pid: number): Promise<string> {
  const words = (await tryRead(`/proc/${pid}/cmdline`)).split('\0').filter((word) => word !== '')
  const line = words.join(' ').slice(0, 120)
  return line === '' ? (await tryRead(`/proc/${pid}/comm`)).trim() : line
}

/**
 * Processes end, and belong to others, while their entries are read: what cannot be looked into
 * cannot be named, and that is all.
 */
async function tried<T>(read: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await read
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'].includes(codeOf(error) ?? '')) {
      return otherwise
    }
    throw error
  }
}

const tryReadLink = (path: string) => tried<string | undefined>(readlink(path), undefined)
const tryList = (path: string) => tried<string[]>(readdir(path), [])
const tryRead = (path: string) => tried<string>(readFile(path, 'utf8'), '')
