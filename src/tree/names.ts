import { ModelcacheError } from '../base/index.ts'

/** NAME_MAX of Linux, in bytes. */
export const MAX_NAME_BYTES = 255

/**
 * Why a name from outside must not become a name in the tree; undefined for a good one. A local
 * disk can hold everything that is let through.
 */
export function badName(name: string): string | undefined {
  if (name === '' || name === '.' || name === '..') {
    return 'it is not a name'
  }
  if (name.includes('/') || name.includes('\0')) {
    return 'it contains a slash or NUL'
  }
  if (!name.isWellFormed()) {
    return 'it is not Unicode'
  }
  return Buffer.byteLength(name) > MAX_NAME_BYTES ? 'it is longer than 255 bytes' : undefined
}

/** Throws EINVAL for a name that `badName` refuses. */
export function checkName(name: string): void {
  const reason = badName(name)
  if (reason !== undefined) {
    throw new ModelcacheError(`name ${JSON.stringify(name.slice(0, 300))}: ${reason}`, {
      code: 'bad-name',
      errno: 'EINVAL',
    })
  }
}
