import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { launcherPath } from './modelcache.ts'

/** What a test may need of the machine. */
export type Capability = 'root' | 'fuse' | 'passthrough' | 'python' | 'cc'

const PROBES: Record<Capability, () => string | undefined> = {
  root: () => (process.getuid?.() === 0 ? undefined : 'root'),
  fuse: () => {
    try {
      accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    } catch {
      return '/dev/fuse, readable and writable'
    }
    return existsSync(launcherPath()) ? undefined : 'bin/modelcache'
  },
  passthrough: () => {
    const [major = 0, minor = 0] = readFileSync('/proc/sys/kernel/osrelease', 'utf8')
      .split('.')
      .map(Number)
    if (process.getuid?.() !== 0) return 'CAP_SYS_ADMIN (root)'
    return major > 6 || (major === 6 && minor >= 9) ? undefined : 'Linux 6.9 or later'
  },
  python: () => (onPath('python3') ? undefined : 'python3'),
  cc: () => (onPath('cc') && onPath('readelf') ? undefined : 'cc and readelf'),
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((part) => existsSync(`${part}/${program}`))
}

/**
 * Whether the machine has all of `wanted`. If not the test is skipped, saying what is missing:
 * `if (!has(t, 'fuse')) return`.
 */
export function has(t: TestContext, ...wanted: Capability[]): boolean {
  const missing = wanted.map((name) => PROBES[name]()).filter((text) => text !== undefined)
  if (missing.length === 0) return true
  t.skip(`this machine has no ${missing.join(', ')}`)
  return false
}
