import { mkdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  makeTempDir,
  removeTempDir,
  runOk,
  scrubbedEnvironment,
  waitFor,
} from '../support/index.ts'

/**
 * A file system of its own, of a size: ext4 in a file, mounted by a loop device (root only).
 *
 * @param use what is done on it. Mounts that it makes are gone before the disk goes, because hooks
 *   of a test run in the order in which they were registered.
 */
export async function onSmallDisk<T>(
  t: TestContext,
  sizeBytes: number,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const base = makeTempDir('modelcache-disk-')
  const directory = join(base, 'disk')
  const image = join(base, 'image')
  const env = scrubbedEnvironment(join(base, 'home'))
  try {
    mkdirSync(directory)
    const file = await open(image, 'w')
    await file.truncate(sizeBytes)
    await file.close()
    // No blocks for root alone: who runs the tests is root, and the disk is to be full for it too.
    await runOk('mkfs.ext4', ['-q', '-F', '-m', '0', image], { env })
    await runOk('mount', ['-o', 'loop', image, directory], { env })
    try {
      return await use(directory)
    } finally {
      t.after(() => unmounted(directory, env))
    }
  } finally {
    t.after(() => removeTempDir(base))
  }
}

/** A process that ended a moment ago may still hold the file system. */
function unmounted(directory: string, env: Record<string, string>): Promise<unknown> {
  return waitFor(`${directory} to be unmounted`, () => runOk('umount', [directory], { env }))
}
