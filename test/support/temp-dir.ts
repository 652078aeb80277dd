import { mkdirSync, mkdtempSync, readFileSync, statfsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

/** Magic numbers of statfs(2) for file systems in memory: no place for a store. */
const IN_MEMORY = new Set([0x01021994 /* tmpfs */, 0x858458f6 /* ramfs */])

/**
 * Where what tests keep between runs lies (virtual environments, made models): outside the clone,
 * named by MODELCACHE_TEST_CACHE or below /var/tmp.
 */
export function testCacheDir(): string {
  const directory =
    process.env.MODELCACHE_TEST_CACHE ?? `/var/tmp/modelcache-test-${userInfo().uid}`
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  return directory
}

/** A directory on a real disk for temporary ones: the system's own, unless that is in memory. */
function realDisk(): string {
  const candidates = [tmpdir(), '/var/tmp', testCacheDir()]
  const found = candidates.find((path) => !IN_MEMORY.has(statfsSync(path).type))
  return found ?? '/var/tmp'
}

/** A new directory on a real disk; whoever makes it removes it with {@link removeTempDir}. */
export function makeTempDir(prefix = 'modelcache-test-'): string {
  return mkdtempSync(join(realDisk(), prefix))
}

/** Removes it with all it holds, but refuses to walk into a mount that was left there. */
export async function removeTempDir(directory: string): Promise<void> {
  const mounts = mountpointsBelow(directory)
  if (mounts.length > 0) throw new Error(`a mount was left behind: ${mounts.join(', ')}`)
  await rm(directory, { recursive: true, force: true, maxRetries: 3 })
}

/** A new directory on a real disk, removed when the test ends, however it ends. */
export function tempDir(t: TestContext, prefix?: string): string {
  const directory = makeTempDir(prefix)
  t.after(() => removeTempDir(directory))
  return directory
}

/** The mountpoints of any file system at or below `directory`, from /proc/self/mountinfo. */
export function mountpointsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .map((path) => path.replace(/\\([0-7]{3})/g, (_, octal) => octalCharacter(String(octal))))
    .filter((path) => path === directory || path.startsWith(`${directory}/`))
}

function octalCharacter(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8))
}
