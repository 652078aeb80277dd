import { readFile, rm } from 'node:fs/promises'
import { isErrno, writeFileDurable } from '../base/index.ts'
import { ENGINE_NAMES, type EngineName } from './engine-name.ts'

/**
 * Who serves a store without a keeper: there from before the mount until its orderly end. A link
 * leads to a tree for many reasons; this says that it is a mount. It also names the engine that a
 * dead FUSE mount had.
 */
export interface ServingMark {
  readonly engine: EngineName
  /** Absolute; its parent's real path and its own name. */
  readonly mountpoint: string
}

const MODE = 0o600

/** Relative to the store. */
const PLACE = 'run/serving.json'

/** Durably: a machine that stops leaves a link, and the mark must be there to explain it. */
export function writeServingMark(
  store: string,
  { engine, mountpoint }: ServingMark,
): Promise<void> {
  const text = `${JSON.stringify({ engine, mountpoint })}\n`
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
  const { engine: name, mountpoint } = value as Record<string, unknown>
  const engine = ENGINE_NAMES.find((one) => one === name)
  return engine !== undefined && typeof mountpoint === 'string' && mountpoint.startsWith('/')
    ? { engine, mountpoint }
    : undefined
}
