/** fuse-native's addon: what it needs to be loaded, and what it offers. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ModelcacheError, messageOf } from '../../base/index.ts'
import { loadLibfuse } from './libfuse.ts'

/** Operations of the addon, by the names that its symbols have. */
export const OPERATION_NAMES = [
  'statfs',
  'fgetattr',
  'getattr',
  'fsync',
  'fsyncdir',
  'readdir',
  'truncate',
  'ftruncate',
  'utimens',
  'readlink',
  'chown',
  'chmod',
  'mknod',
  'setxattr',
  'getxattr',
  'listxattr',
  'removexattr',
  'open',
  'read',
  'write',
  'release',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const
export type OperationName = (typeof OPERATION_NAMES)[number]

/** Called by the addon in this thread, once for each request of a thread of libfuse. */
export type AddonHandler = (locals: Buffer, opcode: number, ...values: unknown[]) => void
/** Ends the wait of the thread whose `locals` these are. */
type Signal = (locals: Buffer, result: number, ...values: unknown[]) => void

export type Addon = {
  readonly [name in `op_${OperationName | 'init'}`]: number
} & {
  readonly [name in `fuse_native_signal_${OperationName | 'init'}`]: Signal
} & {
  readonly sizeof_fuse_thread_t: number
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    self: object,
    allocate: (size: number) => Buffer,
    handlers: readonly AddonHandler[],
    implemented: Uint32Array,
  ): void
}

/** fuse-native.c, sizeof(fuse_thread_t) of the version that package.json pins, on x86-64. */
const THREAD_BYTES = 2640

let loaded: Addon | undefined

/**
 * Loads the addon, with the libfuse that it brings: that one is known, and a machine need not have
 * any.
 *
 * @throws ModelcacheError `no-fuse`, exit code 5
 */
export function loadAddon(): Addon {
  loaded ??= load()
  return loaded
}

/** Why the addon cannot be loaded on this machine, in a few words; undefined where it can. */
export function portableEngineLack(): string | undefined {
  try {
    loadAddon()
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function load(): Addon {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw lack(`fuse-native has no addon for ${process.platform} on ${process.arch}`)
  }
  try {
    const require = createRequire(import.meta.url)
    const entry = require.resolve('fuse-native')
    loadLibfuse(join(dirname(entry), 'prebuilds', 'linux-x64', 'libfuse.so'))
    const build: (directory: string) => Addon = createRequire(entry)('node-gyp-build')
    const addon = build(dirname(entry))
    if (addon.sizeof_fuse_thread_t !== THREAD_BYTES) {
      throw lack('fuse-native is of another version than this program was made for')
    }
    return addon
  } catch (error) {
    throw error instanceof ModelcacheError ? error : lack(`fuse-native: ${reasonOf(error)}`, error)
  }
}

/** The first line says it; the rest is a stack of modules. */
function reasonOf(error: unknown): string {
  return messageOf(error).split('\n', 1)[0] ?? ''
}

function lack(message: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(message, { code: 'no-fuse', exitCode: 5, cause })
}
