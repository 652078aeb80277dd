import { access, constants, open, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { shQuoted } from '../attach/index.ts'
import { isErrno } from '../base/index.ts'
import type { Environment, InstalledPaths } from '../config/index.ts'

/** The device that a file system in user space talks to the kernel through. */
export const FUSE_DEVICE = '/dev/fuse'

/** Its number, 10:229 (Documentation/admin-guide/devices.txt), as stat(2) packs small ones. */
const FUSE_RDEV = (10 << 8) | 229

/** Something that the machine lacks, and what to do about it. */
export interface Lack {
  readonly code: string
  readonly message: string
  readonly remedy: string
}

/**
 * Whether there is a device that somebody answers behind. It is opened, which does nothing by
 * itself: a container may show it and forbid it, and root is not asked by its modes.
 */
export async function lackOfFuse(): Promise<Lack | undefined> {
  const load = 'load it with `modprobe fuse`; in a container start it with `--device /dev/fuse`'
  try {
    const device = await open(FUSE_DEVICE, constants.O_RDWR)
    const stats = await device.stat()
    await device.close()
    return stats.isCharacterDevice() && stats.rdev === FUSE_RDEV
      ? undefined
      : {
          code: 'no-fuse',
          message: `${FUSE_DEVICE} is not the device of FUSE (character device 10:229)`,
          remedy: `take away what lies there, and ${load}`,
        }
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) {
      return closedDevice()
    }
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'EISDIR')) {
      return { code: 'no-fuse', message: `${FUSE_DEVICE} is missing`, remedy: load }
    }
    throw error
  }
}

/** udev opens the device to everybody; a bare container may not. */
function closedDevice(): Lack {
  const open = `open it with \`sudo chmod 666 ${FUSE_DEVICE}\`, as udev does, or mount as root`
  const isRoot = process.geteuid?.() === 0
  return {
    code: 'permission',
    message: `${FUSE_DEVICE} is closed to this ${isRoot ? 'container' : 'user'}`,
    remedy: isRoot ? 'start the container with `--device /dev/fuse`' : open,
  }
}

/** linux/capability.h: the bit of CAP_SYS_ADMIN. */
const CAP_SYS_ADMIN = 21n

/** Whether this process may do what only root may: mount, and register files for passthrough. */
export async function mayAdminister(): Promise<boolean> {
  const [, mask] = (await ownStatus()).match(/^CapEff:\s*([0-9a-f]+)/m) ?? []
  return ((BigInt(`0x${mask ?? '0'}`) >> CAP_SYS_ADMIN) & 1n) === 1n
}

/**
 * Root mounts by itself, unless a container took that right. Anybody else needs the set-uid helper.
 *
 * @param helper - its name, as the engine calls it
 */
export async function lackOfPrivilege(
  env: Environment,
  helper: 'fusermount' | 'fusermount3',
): Promise<Lack | undefined> {
  if (await mayAdminister()) {
    return undefined
  }
  if (process.geteuid?.() === 0) {
    return {
      code: 'permission',
      message: 'root may not mount here (CAP_SYS_ADMIN is not held)',
      remedy: 'start the container with `--cap-add SYS_ADMIN --device /dev/fuse`',
    }
  }
  if ((await findProgram(helper, env)) === undefined) {
    return {
      code: 'permission',
      message: `${helper} is missing, and only root mounts without it`,
      remedy: 'install it with `sudo apt-get install fuse3`',
    }
  }
  if (/^NoNewPrivs:\s*1$/m.test(await ownStatus())) {
    return {
      code: 'permission',
      message: `${helper} cannot become root (no_new_privs is set for this process)`,
      remedy: 'start it outside the sandbox or container that sets it',
    }
  }
  return undefined
}

function ownStatus(): Promise<string> {
  return readFile('/proc/self/status', 'utf8')
}

/** Whether the keeper is built, and for this machine. */
export async function lackOfKeeper(installed: InstalledPaths): Promise<Lack | undefined> {
  const lack = (what: string): Lack => ({
    code: 'no-keeper',
    message: `the keeper ${installed.keeper} is ${what}`,
    remedy: `build it with \`npm start\` in ${shQuoted(installed.root)}, which needs Rust`,
  })
  try {
    await access(installed.keeper, constants.X_OK)
    return (await isForThisMachine(installed.keeper))
      ? undefined
      : lack('built for another kind of machine')
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      return lack('missing')
    }
    if (isErrno(error, 'EACCES', 'EISDIR')) {
      return lack('no program')
    }
    throw error
  }
}

/** elf(5): e_machine of the executables that Node calls by these names. */
const ELF_MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 }

/** A checkout that is shared between machines brings the other one's keeper along. */
async function isForThisMachine(program: string): Promise<boolean> {
  const file = await open(program, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(20), 0, 20, 0)
    const isElf = bytesRead === 20 && buffer.toString('latin1', 0, 4) === '\x7fELF'
    const machine = ELF_MACHINES[process.arch]
    return !isElf || machine === undefined || buffer.readUInt16LE(18) === machine
  } finally {
    await file.close()
  }
}

/** Whether the portable engine's library can be loaded. */
export async function lackOfAddon(): Promise<Lack | undefined> {
  const { portableEngineLack } = await import('../mount/index.ts')
  const reason = portableEngineLack()
  return reason === undefined
    ? undefined
    : {
        code: 'no-addon',
        message: `fuse-native cannot be loaded (${reason})`,
        remedy: 'use the native engine: build the keeper with `npm start`, which needs Rust',
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
