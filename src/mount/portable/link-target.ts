import koffi from 'koffi'
import { ModelcacheError } from '../../base/index.ts'

/** linux/limits.h PATH_MAX. */
const MAX_TARGET_BYTES = 4096

const readlinkat = koffi
  .load(null)
  .func(
    'intptr_t readlinkat(int directory, const char *path, _Out_ void *target, size_t size)',
  ) as unknown as (fd: number, path: string, target: Uint8Array, size: number) => number

/** The target of the symbolic link that a descriptor is open on (`O_PATH`), whatever its name. */
export function readLinkOf(fd: number): Buffer {
  const target = Buffer.alloc(MAX_TARGET_BYTES)
  const length = readlinkat(fd, '', target, target.length)
  if (length < 0) {
    throw new ModelcacheError('readlink: it is no symbolic link', {
      code: 'EINVAL',
      errno: 'EINVAL',
    })
  }
  return target.subarray(0, length)
}
