import { readFile, rm } from 'node:fs/promises'
import { isErrno, writeFileDurable } from '../base/index.ts'
import { ENGINE_NAMES, type EngineName } from './engine-name.ts'

/** What the directory was whose place a link takes. */
export interface DirectoryAttributes {
  /** Permission bits: 07777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/**
 * Who serves a store without a keeper: there from before the mount until its orderly end. A link
 * leads to a tree for many reasons; this says that it is a mount. It also names the engine that a
 * dead FUSE mount had.
 */
export interface ServingMark {
  readonly engine: EngineName
  /** Absolute; its parent's real path and its own name. */
  readonly mountpoint: string
  /** Of a mount without an engine: what its mountpoint becomes again; unknown where there was none. */
  readonly directory?: DirectoryAttributes | undefined
}

const MODE = 0o600

/** Relative to the store. */
const PLACE = 'run/serving.json'

/** Durably: a machine that stops leaves a link, and the mark must be there to explain it. */
export function writeServingMark(
  store: string,
  { engine, mountpoint, directory }: ServingMark,
): Promise<void> {
  const text = `${JSON.stringify({ engine, mountpoint, directory })}\n`
  return writeFileDurable(`${store}/${PLACE}`, text, MODE)
}

/** Undefined where there is none, or where it is not ours to read. */
export async function readServingMark(store: string): Promise<ServingMark | undefined> {
  try {
    return markOf(JSON.parse(await readFile(`${store}/${PLACE}`, 'utf8')))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP') || error instanceof SyntaxError) {
      return undefined
    }
    throw error
  }
}

/** Not there is fine. */
export async function removeServingMark(store: string): Promise<void> {
  await rm(`${store}/${PLACE}`, { force: true })
}

function markOf(value: unknown): ServingMark | undefined {
  if (typeof value !== 'object' || value === null) {
    return undefined
  }
  const { engine: name, mountpoint, directory } = value as Record<string, unknown>
  const engine = ENGINE_NAMES.find((one) => one === name)
  return engine !== undefined && typeof mountpoint === 'string' && mountpoint.startsWith('/')
    ? { engine, mountpoint, directory: attributesOf(directory) }
    : undefined
}

function attributesOf(value: unknown): DirectoryAttributes | undefined {
  if (typeof value !== 'object' || value === null) {
    return undefined
  }
  const { mode, uid, gid } = value as Record<string, unknown>
  const isId = (id: unknown): id is number => Number.isSafeInteger(id) && Number(id) >= 0
  return isId(mode) && mode <= 0o7777 && isId(uid) && isId(gid) ? { mode, uid, gid } : undefined
}
