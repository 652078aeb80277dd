import { mkdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { isInstalled, provideDebianPackage } from '../support/debian-package.ts'
import {
  makeTempDir,
  removeTempDir,
  runOk,
  scrubbedEnvironment,
  waitFor,
} from '../support/index.ts'

/** The file systems of a store that are cut from their power. */
export const FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs'] as const
export type FileSystem = (typeof FILE_SYSTEMS)[number]

/** What each asks for to be made, and to write back as late as it may: time must hide nothing. */
const KINDS = {
  ext4: { make: ['mkfs.ext4', '-q', '-F'], options: 'loop,commit=300', of: 'e2fsprogs' },
  xfs: { make: ['mkfs.xfs', '-q', '-f'], options: 'loop,nouuid', of: 'xfsprogs' },
  btrfs: { make: ['mkfs.btrfs', '-q', '-f'], options: 'loop,commit=300', of: 'btrfs-progs' },
} as const

const IMAGE_BYTES = 512 * 1024 * 1024
const OUTER_BYTES = 8 * 1024 * 1024 * 1024

/** A disk whose power can be cut: what was not written back by then is lost. */
export interface PowerDisk {
  /** Where it is mounted. */
  readonly directory: string
  /**
   * The disk as it would be found after a power cut at this moment, mounted beside this one, which
   * runs on.
   */
  cut(): Promise<string>
}

/** @returns why no such disk can be had here, or undefined */
export async function powerDiskMissing(kind: FileSystem): Promise<string | undefined> {
  for (const one of new Set([kind, 'xfs'] as const)) {
    const { make, of } = KINDS[one]
    const missing = isInstalled(make[0]) ? undefined : await provideDebianPackage(make[0], of)
    if (missing !== undefined) return missing
  }
  return undefined
}

/**
 * A file system in a file that lies on an XFS of its own, so that the file can be copied in one
 * step while it is in use: the copy has what reached the disk, and nothing of what is in memory.
 *
 * @param use - what is done on it; mounts of ours that it makes are gone before the disks go
 */
export async function onPowerDisk<T>(
  t: TestContext,
  kind: FileSystem,
  use: (disk: PowerDisk) => Promise<T>,
): Promise<T> {
  const base = makeTempDir('modelcache-power-')
  const env = scrubbedEnvironment(join(base, 'home'))
  const mounted: string[] = []
  const mountImage = async (image: string, directory: string, options: string) => {
    mkdirSync(directory)
    await runOk('mount', ['-o', options, image, directory], { env })
    mounted.push(directory)
  }
  try {
    const outer = await makeImage(join(base, 'outer'), OUTER_BYTES, KINDS.xfs.make, env)
    await mountImage(outer, join(base, 'images'), 'loop')
    const { make, options } = KINDS[kind]
    const image = await makeImage(join(base, 'images/disk'), IMAGE_BYTES, make, env)
    const directory = join(base, 'disk')
    await mountImage(image, directory, options)
    let cuts = 0
    const cut = async () => {
      cuts += 1
      const copy = `${image}-${cuts}`
      await runOk('cp', ['--reflink=always', image, copy], { env })
      const place = join(base, `after-${cuts}`)
      await mountImage(copy, place, options)
      return place
    }
    return await use({ directory, cut })
  } finally {
    // Hooks run in the order in which they were registered: after those of the mounts.
    t.after(async () => {
      for (const directory of mounted.toReversed()) {
        await waitFor(`${directory} to be unmounted`, () => runOk('umount', [directory], { env }))
      }
      await removeTempDir(base)
    })
  }
}

async function makeImage(
  path: string,
  sizeBytes: number,
  [program, ...words]: readonly [string, ...string[]],
  env: Record<string, string>,
): Promise<string> {
  const file = await open(path, 'w')
  await file.truncate(sizeBytes)
  await file.close()
  await runOk(program, [...words, path], { env })
  return path
}
