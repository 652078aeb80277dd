import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What may come through from the machine: how to find programs and certificates. Everything else
 * (CI, IPFS_KIT_DISABLE, STORAGE_FORCE_LOCAL, HF_*, XDG_*, TMPDIR, HOME) would change what is
 * tested, so tests start from nothing and say what they mean.
 */
const KEPT = ['PATH', 'LANG', 'LC_ALL', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'MODELCACHE_KEEPER']

/**
 * A scrubbed environment whose HOME, TMPDIR and XDG directories lie below `home`, which is made.
 *
 * @param home an absolute path inside the test's own temporary directory
 * @param extra variables that the test means, laid over the rest
 */
export function scrubbedEnvironment(
  home: string,
  extra: Record<string, string> = {},
): Record<string, string> {
  const places: Record<string, string> = {
    HOME: home,
    TMPDIR: join(home, 'tmp'),
    XDG_CACHE_HOME: join(home, '.cache'),
    XDG_CONFIG_HOME: join(home, '.config'),
    XDG_DATA_HOME: join(home, '.local/share'),
    XDG_STATE_HOME: join(home, '.local/state'),
    XDG_RUNTIME_DIR: join(home, 'runtime'),
  }
  for (const place of Object.values(places)) mkdirSync(place, { recursive: true, mode: 0o700 })
  const environment: Record<string, string> = { LANG: 'C.UTF-8' }
  for (const name of KEPT) {
    const value = process.env[name]
    if (value !== undefined) environment[name] = value
  }
  return { ...environment, ...places, ...extra }
}
