import { access, constants, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { isErrno, ModelcacheError } from '../base/index.ts'
import type { Environment, InstalledPaths } from '../config/index.ts'

/** The device that a file system in user space talks to the kernel through. */
export const FUSE_DEVICE = '/dev/fuse'

/** Something that the machine lacks, and what to do about it. */
export interface Lack {
  readonly code: string
  readonly message: string
  readonly remedy: string
}

/** Whether /dev/fuse is there; whether this user may open it is another question. */
export async function lackOfFuse(): Promise<Lack | undefined> {
  try {
    if ((await stat(FUSE_DEVICE)).isCharacterDevice()) {
      return undefined
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
  return {
    code: 'no-fuse',
    message: `${FUSE_DEVICE} is missing`,
    remedy: 'load it with `modprobe fuse`; in a container start it with `--device /dev/fuse`',
  }
}

/**
 * Root mounts by itself. Anybody else needs the set-uid helper, which opens the device with the
 * rights of its caller: udev gives them to everybody, a bare container may not.
 */
export async function lackOfPrivilege(env: Environment): Promise<Lack | undefined> {
  if (process.geteuid?.() === 0) {
    return undefined
  }
  if ((await findProgram('fusermount3', env)) === undefined) {
    return {
      code: 'permission',
      message: 'fusermount3 is missing, and only root mounts without it',
      remedy: 'install it with `sudo apt-get install fuse3`',
    }
  }
  try {
    await access(FUSE_DEVICE, constants.R_OK | constants.W_OK)
    return undefined
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM')) {
      throw error
    }
    return {
      code: 'permission',
      message: `${FUSE_DEVICE} is closed to this user`,
      remedy: `open it with \`sudo chmod 666 ${FUSE_DEVICE}\`, as udev does, or mount as root`,
    }
  }
}

/** Whether the keeper is built. */
export async function lackOfKeeper(installed: InstalledPaths): Promise<Lack | undefined> {
  try {
    await access(installed.keeper, constants.X_OK)
    return undefined
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EACCES', 'ENOTDIR')) {
      throw error
    }
    return {
      code: 'no-keeper',
      message: `the keeper ${installed.keeper} is ${isErrno(error, 'EACCES') ? 'no program' : 'missing'}`,
      remedy: `build it with \`npm start\` in ${installed.root}`,
    }
  }
}

/** Everything that a mount needs of the machine; throws the first that is missing, exit code 5. */
export async function checkMachine(installed: InstalledPaths, env: Environment): Promise<void> {
  const lack =
    (await lackOfKeeper(installed)) ?? (await lackOfFuse()) ?? (await lackOfPrivilege(env))
  if (lack !== undefined) {
    throw new ModelcacheError(`${lack.message}: ${lack.remedy}`, { code: lack.code, exitCode: 5 })
  }
}

/** Where a program is in PATH, as the shell would find it. */
export async function findProgram(name: string, env: Environment): Promise<string | undefined> {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    const path = join(folder === '' ? '.' : folder, name)
    try {
      await access(path, constants.X_OK)
      return path
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'EACCES', 'ENOTDIR')) {
        throw error
      }
    }
  }
  return undefined
}
