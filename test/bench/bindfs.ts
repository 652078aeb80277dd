import { provideDebianPackage } from '../support/debian-package.ts'
import { runOk } from '../support/index.ts'

/** Either what it is, or why there is none. */
export type Provided = { name: string; missing?: never } | { missing: string }

/**
 * Debian's bindfs, the peer that fuse-native is measured by: a C program that passes every
 * operation of a directory on.
 */
export async function provideBindfs(): Promise<Provided> {
  const missing = await provideDebianPackage('bindfs')
  if (missing !== undefined) return { missing }
  const env = { PATH: process.env.PATH ?? '' }
  return { name: (await runOk('bindfs', ['--version'], { env })).stdout.trim() }
}
