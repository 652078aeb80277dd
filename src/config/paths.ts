import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { lstat, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isErrno, ModelcacheError } from '../base/index.ts'
import { type Environment, xdgDirectory } from './process-environment.ts'

/** Where the program's own files are. */
export interface InstalledPaths {
  /** The folder of package.json. */
  readonly root: string
  /** The keeper's executable; it may not be built yet. */
  readonly keeper: string
  /** The program that the keeper starts and restarts. */
  readonly daemonCommand: readonly string[]
  /** The same with an engine inside, which is started in place of the keeper. */
  readonly serveCommand: readonly string[]
  readonly version: string
}

/** `dist/config` and `src/config` are equally deep, so the root is the same for both. */
const ROOT = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '')

/** Built code is `.js`; a test that runs the sources gets a daemon of the sources too. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

/**
 * Finds the program's files. `MODELCACHE_KEEPER` names another keeper, for tests of a build that
 * is not the released one.
 */
export function installedPaths(env: Environment): InstalledPaths {
  const program = (name: string) => [
    process.execPath,
    fileURLToPath(new URL(`../daemon/${name}.${EXTENSION}`, import.meta.url)),
  ]
  return {
    root: ROOT,
    keeper: env.MODELCACHE_KEEPER
      ? resolve(env.MODELCACHE_KEEPER)
      : join(ROOT, 'native/target/release/modelcache-keeper'),
    daemonCommand: program('main'),
    serveCommand: program('serve'),
    version: packageVersion(),
  }
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  if (
    typeof manifest === 'object' &&
    manifest !== null &&
    'version' in manifest &&
    typeof manifest.version === 'string'
  ) {
    return manifest.version
  }
  throw new ModelcacheError(`read ${ROOT}/package.json: it has no version`, {
    code: 'broken-install',
  })
}

/**
 * The real path of a directory that may not exist yet, or whose mount is dead (ENOTCONN): that of
 * its parent, and its own name. A link that leads nowhere is no directory that may come to be.
 *
 * @param path - absolute
 * @throws the system's error when the parent does not exist either
 */
export async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTCONN') || (await isDanglingLink(path))) {
      throw error
    }
    return join(await realpath(dirname(path)), basename(path))
  }
}

async function isDanglingLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink()
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTCONN')) {
      return false
    }
    throw error
  }
}

/**
 * Where the mounts are noted that the system's table of mounts does not know: a file each, so that
 * `status` finds them without being told where.
 */
export function mountsFolder(env: Environment): string {
  return join(xdgDirectory(env, 'XDG_STATE_HOME', '.local/state'), 'modelcache', 'mounts')
}

/**
 * The store that `mount` takes when none is named: below `XDG_DATA_HOME`, the mountpoint's name
 * and 8 hex digits of SHA-256 over its real path, so that two `model_cache` have two stores and
 * the same one finds its own again.
 *
 * @param mountpoint - its real path
 */
export function defaultStore(mountpoint: string, env: Environment): string {
  const hash = createHash('sha256').update(mountpoint).digest('hex').slice(0, 8)
  const data = xdgDirectory(env, 'XDG_DATA_HOME', '.local/share')
  return join(data, 'modelcache', `${shortName(basename(mountpoint))}-${hash}`)
}

/** A name of 255 bytes leaves no room for the hash; whole characters are kept. */
function shortName(name: string): string {
  let short = name
  while (Buffer.byteLength(short) > 200) {
    short = [...short].slice(0, -1).join('')
  }
  return short
}
