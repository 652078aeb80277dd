import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno, writeFileDurable } from '../base/index.ts'
import { type Environment, mountsFolder } from '../config/index.ts'
import { type OwnMount, ownFuseMounts, plainMountOf } from './own-mounts.ts'

const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

/** All mounts of ours on this machine: the kernel's, and this user's without an engine. */
export async function knownMounts(env: Environment): Promise<OwnMount[]> {
  return [...(await ownFuseMounts()), ...(await notedMounts(env))]
}

/**
 * Notes a mount that the kernel does not know, so that it is found without being named. A file a
 * store: it is checked against the store whenever it is read, so an old one does no harm.
 */
export async function noteMount({ store }: Pick<OwnMount, 'store'>, env: Environment) {
  const folder = mountsFolder(env)
  await mkdir(folder, { recursive: true, mode: FOLDER_MODE })
  await writeFileDurable(notePath(folder, store), `${JSON.stringify({ store })}\n`, FILE_MODE)
}

/** The mounts that were noted and are still there; what is not is forgotten. */
async function notedMounts(env: Environment): Promise<OwnMount[]> {
  const folder = mountsFolder(env)
  const mounts: OwnMount[] = []
  for (const name of (await namesIn(folder)).filter((one) => one.endsWith('.json')).sort()) {
    const store = await notedStore(join(folder, name))
    const mount = store === undefined ? undefined : await plainMountOf(store)
    if (mount === undefined) {
      await tryForget(join(folder, name))
    } else {
      mounts.push(mount)
    }
  }
  return mounts
}

/** A note that stays is checked again and does no harm. */
async function tryForget(path: string): Promise<void> {
  try {
    await rm(path, { force: true })
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM', 'EROFS')) {
      throw error
    }
  }
}

function notePath(folder: string, store: string): string {
  return join(folder, `${createHash('sha256').update(store).digest('hex').slice(0, 16)}.json`)
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) {
      return []
    }
    throw error
  }
}

async function notedStore(path: string): Promise<string | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return typeof value === 'object' &&
      value !== null &&
      'store' in value &&
      typeof value.store === 'string'
      ? value.store
      : undefined
  } catch (error) {
    if (isErrno(error, 'ENOENT') || error instanceof SyntaxError) {
      return undefined
    }
    throw error
  }
}
