import type { Stats } from 'node:fs'
import { lstat, mkdir, readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fsyncDirectory, isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'

/** The absolute paths of everything in a store; docs/store.md says what each is. */
export interface StorePaths {
  store: string
  version: string
  lock: string
  unclean: string
  tree: string
  objects: string
  extents: string
  staging: string
  nodes: string
  db: string
  commits: string
  dirtyLog: string
  key: string
  sources: string
  share: string
  localOnly: string
  keptRoots: string
  run: string
  controlSocket: string
  keeperSocket: string
  log: string
  keeperLog: string
  daemonLog: string
}

const STORE_VERSION = '1\n'
/** Nobody else looks into a store: it holds tokens, keys and licensed weights. */
const STORE_MODE = 0o700
/** Unless the umask of a program says otherwise, as `mkdir` makes the root of a tree. */
const TREE_MODE = 0o755

/** All paths of a store. `store` is made absolute. */
export function storePaths(store: string): StorePaths {
  const root = resolve(store)
  const at = (...names: string[]) => join(root, ...names)
  return {
    store: root,
    version: at('version'),
    lock: at('lock'),
    unclean: at('unclean'),
    tree: at('tree'),
    objects: at('objects'),
    extents: at('extents'),
    staging: at('staging'),
    nodes: at('nodes'),
    db: at('db'),
    commits: at('commits'),
    dirtyLog: at('dirty.log'),
    key: at('key'),
    sources: at('sources.json'),
    share: at('share.json'),
    localOnly: at('local-only'),
    keptRoots: at('kept-roots'),
    run: at('run'),
    controlSocket: at('run', 'control.sock'),
    keeperSocket: at('run', 'keeper.sock'),
    log: at('log'),
    keeperLog: at('log', 'keeper.log'),
    daemonLog: at('log', 'daemon.log'),
  }
}

/**
 * Creates a store, or finishes one whose creation was cut short: the version file is written
 * last. A store that exists is checked and left as it is.
 *
 * @throws ModelcacheError `store-not-empty` where the folder holds something else, and what
 *   `checkStore` throws
 */
export async function createStore(dir: string): Promise<StorePaths> {
  const paths = storePaths(dir)
  await mkdir(paths.store, { recursive: true, mode: STORE_MODE })
  const stats = await folderStats(paths.store)
  // What is in it comes first: nobody should be told to close /usr to others.
  if ((await readVersion(paths)) === undefined) {
    await refuseForeignContent(paths)
    checkPrivate(paths.store, stats)
  } else {
    await checkStore(dir)
  }
  for (const folder of ['objects', 'extents', 'staging', 'nodes', 'db', 'run', 'log'] as const) {
    await mkdirIfMissing(paths[folder], STORE_MODE)
  }
  await mkdirIfMissing(paths.tree, TREE_MODE)
  await fsyncDirectory(paths.store)
  if ((await readVersion(paths)) === undefined) {
    await writeFileDurable(paths.version, STORE_VERSION, 0o600)
  }
  return paths
}

/**
 * Makes sure that a folder is a store of ours that this program can use.
 *
 * @throws ModelcacheError `no-store`, `store-owner`, `store-mode` or `store-version`
 */
export async function checkStore(dir: string): Promise<StorePaths> {
  const paths = storePaths(dir)
  checkPrivate(paths.store, await folderStats(paths.store))
  const version = await readVersion(paths)
  if (version === undefined) {
    throw new ModelcacheError(`store ${paths.store}: it has no version file, so it is no store`, {
      code: 'no-store',
      errno: 'ENOENT',
      exitCode: 1,
    })
  }
  if (version !== STORE_VERSION) {
    throw new ModelcacheError(
      `store ${paths.store}: version ${JSON.stringify(version.slice(0, 32))} is not ` +
        `${JSON.stringify(STORE_VERSION)}; use the modelcache that made it`,
      { code: 'store-version', exitCode: 1 },
    )
  }
  return paths
}

async function folderStats(store: string): Promise<Stats> {
  const stats = await lstatStore(store)
  if (!stats.isDirectory()) {
    throw new ModelcacheError(`store ${store}: it is not a folder`, {
      code: 'no-store',
      errno: 'ENOTDIR',
      exitCode: 1,
    })
  }
  return stats
}

/** Nobody but its owner may look into a store. */
function checkPrivate(store: string, stats: Stats): void {
  const user = process.geteuid?.()
  if (user !== undefined && stats.uid !== user) {
    throw new ModelcacheError(`store ${store}: it belongs to user ${stats.uid}, not to ${user}`, {
      code: 'store-owner',
      errno: 'EACCES',
      exitCode: 1,
    })
  }
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8)
    throw new ModelcacheError(
      `store ${store}: others may enter it (mode ${mode}); run: chmod 700 ${store}`,
      { code: 'store-mode', errno: 'EACCES', exitCode: 1 },
    )
  }
}

async function lstatStore(store: string) {
  try {
    return await lstat(store)
  } catch (cause) {
    throw new ModelcacheError(`store ${store}: cannot be read`, {
      code: 'no-store',
      exitCode: 1,
      cause,
    })
  }
}

async function readVersion(paths: StorePaths): Promise<string | undefined> {
  try {
    return await readFile(paths.version, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

/** What an interrupted creation leaves is only folders of ours. */
async function refuseForeignContent(paths: StorePaths): Promise<void> {
  const own = new Set(['tree', 'objects', 'extents', 'staging', 'nodes', 'db', 'run', 'log'])
  const foreign = (await readdir(paths.store)).filter(
    (name) => !own.has(name) && name !== 'lock' && !name.startsWith('.version.'),
  )
  if (foreign.length > 0) {
    throw new ModelcacheError(
      `store ${paths.store}: the folder is not empty (${foreign[0]}) and is no store; name another`,
      { code: 'store-not-empty', errno: 'ENOTEMPTY', exitCode: 1 },
    )
  }
}

async function mkdirIfMissing(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode })
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) {
      throw error
    }
  }
}
