/** Extended attributes, which Node does not know. */
import { constants as osConstants } from 'node:os'
import { check, declare, lastErrno, type Path, shown, systemError, terminated } from './libc.ts'

/** linux/limits.h XATTR_SIZE_MAX: no attribute is larger; XATTR_LIST_MAX is the same. */
const XATTR_SIZE_MAX = 65536
/** Our attributes are small: most reads need one call. */
const XATTR_GUESS_BYTES = 512

/** sys/xattr.h: fail where the attribute is there already, or is not there yet. */
export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2

const native = {
  fgetxattr: declare(
    'intptr_t fgetxattr(int fd, const void *name, _Out_ void *value, size_t size)',
  ),
  getxattr: declare(
    'intptr_t getxattr(const void *path, const void *name, _Out_ void *value, size_t size)',
  ),
  lgetxattr: declare(
    'intptr_t lgetxattr(const void *path, const void *name, _Out_ void *value, size_t size)',
  ),
  fsetxattr: declare(
    'int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)',
  ),
  setxattr: declare(
    'int setxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
  ),
  lsetxattr: declare(
    'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
  ),
  fremovexattr: declare('int fremovexattr(int fd, const void *name)'),
  removexattr: declare('int removexattr(const void *path, const void *name)'),
  lremovexattr: declare('int lremovexattr(const void *path, const void *name)'),
  listxattr: declare('intptr_t listxattr(const void *path, _Out_ void *list, size_t size)'),
  llistxattr: declare('intptr_t llistxattr(const void *path, _Out_ void *list, size_t size)'),
}

/** The value of an attribute of an open file, or undefined where there is none. */
export function fgetxattr(fd: number, name: string): Uint8Array | undefined {
  const key = terminated(name)
  return readAttribute(`fgetxattr ${name}`, (value) =>
    native.fgetxattr(fd, key, value, value.length),
  )
}

/** The value of an attribute of a path itself (lgetxattr), or undefined where there is none. */
export function getxattr(path: Path, name: string): Uint8Array | undefined {
  const file = terminated(path)
  const key = terminated(name)
  return readAttribute(`lgetxattr ${name} of ${shown(path)}`, (value) =>
    native.lgetxattr(file, key, value, value.length),
  )
}

/** As `getxattr`, of what a link leads to: for `/proc/self/fd/N` of an O_PATH descriptor. */
export function getxattrFollowed(path: Path, name: string): Uint8Array | undefined {
  const file = terminated(path)
  const key = terminated(name)
  return readAttribute(`getxattr ${name} of ${shown(path)}`, (value) =>
    native.getxattr(file, key, value, value.length),
  )
}

export function fsetxattr(fd: number, name: string, value: Uint8Array, flags = 0): void {
  check(`fsetxattr ${name}`, native.fsetxattr(fd, terminated(name), value, value.length, flags))
}

/** Sets an attribute of the path itself; a symbolic link is not followed. */
export function lsetxattr(path: Path, name: string, value: Uint8Array, flags = 0): void {
  check(
    `lsetxattr ${name} of ${shown(path)}`,
    native.lsetxattr(terminated(path), terminated(name), value, value.length, flags),
  )
}

/** As `lsetxattr`, of what a link leads to: for `/proc/self/fd/N` of an O_PATH descriptor. */
export function setxattrFollowed(path: Path, name: string, value: Uint8Array, flags = 0): void {
  check(
    `setxattr ${name} of ${shown(path)}`,
    native.setxattr(terminated(path), terminated(name), value, value.length, flags),
  )
}

/** Removes an attribute; one that is not there is not an error. */
export function fremovexattr(fd: number, name: string): void {
  checkRemoved(`fremovexattr ${name}`, native.fremovexattr(fd, terminated(name)))
}

/** Removes an attribute of the path itself; one that is not there is not an error. */
export function lremovexattr(path: Path, name: string): void {
  checkRemoved(
    `lremovexattr ${name} of ${shown(path)}`,
    native.lremovexattr(terminated(path), terminated(name)),
  )
}

/**
 * Removes an attribute as a program asks for it.
 *
 * @param follow act on what a link leads to, and not on the path itself
 * @throws errno ENODATA where there is none
 */
export function removexattr(path: Path, name: string, follow: boolean): void {
  const call = follow ? native.removexattr : native.lremovexattr
  check(`removexattr ${name} of ${shown(path)}`, call(terminated(path), terminated(name)))
}

/**
 * The names of all attributes that the caller may see.
 *
 * @param follow of what a link leads to, and not of the path itself
 */
export function listxattr(path: Path, follow: boolean): string[] {
  const call = follow ? native.listxattr : native.llistxattr
  const file = terminated(path)
  const list = readAttribute(`listxattr of ${shown(path)}`, (value) =>
    call(file, value, value.length),
  )
  const names = Buffer.from(list ?? []).toString()
  return names.split('\0').filter((name) => name !== '')
}

function readAttribute(what: string, call: (value: Uint8Array) => number) {
  for (const size of [XATTR_GUESS_BYTES, XATTR_SIZE_MAX]) {
    const value = new Uint8Array(size)
    const length = call(value)
    if (length >= 0) {
      return value.subarray(0, length)
    }
    const errno = lastErrno()
    if (errno === osConstants.errno.ENODATA) {
      return undefined
    }
    if (errno !== osConstants.errno.ERANGE || size === XATTR_SIZE_MAX) {
      throw systemError(what, errno)
    }
  }
  return undefined
}

function checkRemoved(what: string, result: number): void {
  if (result === -1 && lastErrno() !== osConstants.errno.ENODATA) {
    throw systemError(what, lastErrno())
  }
}
