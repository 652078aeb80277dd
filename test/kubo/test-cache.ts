import { join } from 'node:path'
import { env, getuid } from 'node:process'

/**
 * The directory outside the clone where tests keep what is expensive to make:
 * `$MODELCACHE_TEST_CACHE`, else one per user under /var/tmp, which survives a reboot.
 */
export function testCacheDirectory(): string {
  return env.MODELCACHE_TEST_CACHE ?? join('/var/tmp', `modelcache-test-${getuid?.() ?? 0}`)
}
