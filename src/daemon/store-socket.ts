import { constants } from 'node:fs'
import { chmod, type FileHandle, open, unlink } from 'node:fs/promises'
import type { Server } from 'node:net'
import { isErrno } from '../base/index.ts'

/** For the owner alone. */
const SOCKET_MODE = 0o600

/**
 * Listens in the folder `run` of a store; what an earlier process left is replaced. The folder's
 * path may be longer than a socket's address: the way through its descriptor is always short.
 *
 * @returns the folder, to be closed after the server: it removes its socket by that way
 */
export async function listenIn(runDir: string, name: string, server: Server): Promise<FileHandle> {
  const folder = await open(runDir, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const path = `/proc/self/fd/${folder.fd}/${name}`
    await unlinkIfThere(path)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, () => {
        server.off('error', reject)
        resolve()
      })
    })
    await chmod(path, SOCKET_MODE)
    return folder
  } catch (error) {
    await folder.close()
    throw error
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
}
