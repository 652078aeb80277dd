import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isErrno } from './errors.ts'
import { reached } from './fault-points.ts'

/** Makes the names in a folder durable: created, renamed and removed entries. */
export async function fsyncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes one file's data and metadata durable. */
export async function fsyncFile(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Replaces a file as a whole: after a power cut it is the old one or the new one. The folder
 * must exist. Throws the system's error; the temporary file is removed then.
 *
 * @param mode permission bits of the new file, regardless of the umask
 */
export async function writeFileDurable(
  path: string,
  data: Uint8Array | string,
  mode: number,
): Promise<void> {
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  const handle = await open(temporary, 'wx', 0o600)
  try {
    try {
      await handle.writeFile(data)
      await handle.chmod(mode)
      await handle.sync()
    } finally {
      await handle.close()
    }
    reached('durable.written')
    await rename(temporary, path)
  } catch (error) {
    await tryUnlink(temporary)
    throw error
  }
  await fsyncDirectory(folder)
  reached('durable.renamed')
}

/**
 * Appends whole records and makes them durable before it returns. A write that fails in the
 * middle is taken back, so that the next append does not follow a torn record. One writer at a
 * time: callers hold a lock.
 *
 * @param mode permission bits when the file has to be created
 */
export async function appendDurable(
  path: string,
  data: Uint8Array | string,
  mode = 0o600,
): Promise<void> {
  const handle = await open(path, 'a', mode)
  try {
    const { size } = await handle.stat()
    await appendAt(handle, data, size)
    if (size === 0) {
      await fsyncDirectory(dirname(path))
    }
  } finally {
    await handle.close()
  }
}

async function appendAt(handle: FileHandle, data: Uint8Array | string, size: number) {
  try {
    await handle.appendFile(data)
    await handle.datasync()
  } catch (error) {
    await handle.truncate(size)
    throw error
  }
}

/** Best effort: what is left over is a temporary name that nothing reads. */
async function tryUnlink(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EROFS', 'EIO')) {
      throw error
    }
  }
}
