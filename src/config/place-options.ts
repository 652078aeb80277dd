import { resolve } from 'node:path'
import { MAX_MOUNTPOINT_BYTES, MAX_NAME_BYTES, MAX_STORE_BYTES } from './limits.ts'
import { shown, usageError } from './usage.ts'

/**
 * A directory from the command line as an absolute path, links not followed.
 *
 * @param what - how the message calls it, such as `mountpoint` or `--store`
 * @param maxBytes - of the absolute path
 */
export function directoryOption(
  what: string,
  value: string,
  cwd: string,
  maxBytes: number,
): string {
  if (value === '') {
    throw usageError(`${what} "": give the path of a directory`)
  }
  if (value.includes('\0')) {
    throw usageError(`${what} ${shown(value)}: a path cannot hold a NUL`)
  }
  const path = resolve(cwd, value)
  const bytes = Buffer.byteLength(path)
  if (bytes > maxBytes) {
    throw usageError(
      `${what} ${shown(value)}: the absolute path has ${bytes} bytes; give one of at most ${maxBytes}`,
    )
  }
  const long = path.split('/').find((name) => Buffer.byteLength(name) > MAX_NAME_BYTES)
  if (long !== undefined) {
    throw usageError(
      `${what} ${shown(value)}: the name ${shown(long)} has ${Buffer.byteLength(long)} bytes; ` +
        `a name has at most ${MAX_NAME_BYTES}`,
    )
  }
  return path
}

/** The mountpoint, absolute. */
export function mountpointOption(value: string, cwd: string): string {
  const path = directoryOption('mountpoint', value, cwd, MAX_MOUNTPOINT_BYTES)
  if (path === '/') {
    throw usageError('mountpoint "/": give a directory of its own, such as ./model_cache')
  }
  return path
}

/** `--store`, absolute. */
export function storeOption(value: string, cwd: string): string {
  const path = directoryOption('--store', value, cwd, MAX_STORE_BYTES)
  if (path === '/') {
    throw usageError('--store "/": give a directory of its own, such as ./model_cache.store')
  }
  return path
}

/** Whether `inner` is `outer` or lies below it; both absolute and normal. */
export function isWithin(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(outer.endsWith('/') ? outer : `${outer}/`)
}

/** Refuses a store that would serve itself: each inside the other, or both the same. */
export function checkApart(mountpoint: string, store: string): void {
  if (isWithin(mountpoint, store)) {
    throw usageError(
      `mountpoint ${shown(mountpoint)}: it lies in the store ${shown(store)}; ` +
        'give a mountpoint or a --store elsewhere',
    )
  }
  if (isWithin(store, mountpoint)) {
    throw usageError(
      `--store ${shown(store)}: it lies in the mountpoint ${shown(mountpoint)}; ` +
        'give a store elsewhere',
    )
  }
}
