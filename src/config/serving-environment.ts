import type { Environment } from './process-environment.ts'

/**
 * The environment of keeper and daemon. A process that serves a mount must never touch the mount:
 * a cache variable of the user (HF_HOME, TMPDIR, XDG_*) that leads into it would make the server
 * wait for itself. So it gets a list, not the user's environment less a list.
 *
 * @param store - absolute; stands in for a home, which nothing should look for
 */
export function servingEnvironment(env: Environment, store: string): Record<string, string> {
  return {
    PATH: env.PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: store,
    LANG: 'C.UTF-8',
    ...(env.MODELCACHE_LOG === undefined ? {} : { MODELCACHE_LOG: env.MODELCACHE_LOG }),
  }
}
