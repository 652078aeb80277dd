/**
 * Extended attributes: `user.*` as they are on disk, but for the placeholder's record, which is
 * hidden, and `user.modelcache.cid`, which is computed.
 */
import { fstatSync } from 'node:fs'
import {
  getxattrFollowed,
  isErrno,
  listxattr,
  ModelcacheError,
  removexattr,
  setxattrFollowed,
} from '../../base/index.ts'
import { RECORD_XATTR } from '../../tree/index.ts'
import { type Parts, reach } from './parts.ts'
import type { Pin } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'

/** Not listed, read-only: the CID of a settled file or directory. */
const CID_XATTR = 'user.modelcache.cid'

type XattrOperations = Pick<Operations, 'getxattr' | 'listxattr' | 'setxattr' | 'removexattr'>

export function xattrOperations(parts: Parts): XattrOperations {
  return {
    getxattr: (request) => getxattr(parts, request),
    listxattr: (request) =>
      reach(parts, request.path, ({ at }) => put(request, Buffer.from(visibleNames(at)))),
    setxattr: ({ path, xattrName, xattrFlags, payload }) =>
      change(parts, path, xattrName, ({ at }) =>
        setxattrFollowed(at, xattrName, payload, xattrFlags),
      ),
    removexattr: ({ path, xattrName }) =>
      change(parts, path, xattrName, ({ at }) => removexattr(at, xattrName, true)),
  }
}

function getxattr(parts: Parts, request: Request): number | Promise<number> {
  const { path, xattrName } = request
  if (xattrName === CID_XATTR) {
    return reach(parts, path, async ({ id, fd }, name) => {
      if (name === undefined) {
        throw refusal('ENODATA', xattrName)
      }
      return put(request, Buffer.from(await parts.questions.cid({ id, path: name, fd })))
    })
  }
  checkName(xattrName)
  return reach(parts, path, ({ at }) => {
    const value = xattrName === RECORD_XATTR ? undefined : getxattrFollowed(at, xattrName)
    if (value === undefined) {
      throw refusal('ENODATA', xattrName)
    }
    return put(request, value)
  })
}

/** The length, and the value where there is room for it. */
function put(request: Request, value: Uint8Array): number {
  if (request.room > 0) {
    if (value.length > request.room) {
      throw refusal('ERANGE', request.name)
    }
    request.payload.set(value)
  }
  return value.length
}

function visibleNames(at: string): string {
  return namesAt(at)
    .filter((name) => name.startsWith('user.') && name !== RECORD_XATTR)
    .map((name) => `${name}\0`)
    .join('')
}

function namesAt(at: string): string[] {
  try {
    return listxattr(at, true)
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'ENOTSUP')) {
      return []
    }
    throw error
  }
}

function change(parts: Parts, path: string, xattr: string, act: (pin: Pin) => void): number {
  checkName(xattr)
  if (xattr === RECORD_XATTR || xattr === CID_XATTR) {
    throw refusal('EPERM', xattr)
  }
  return reach(parts, path, (pin) => {
    act(pin)
    // Another ctime is all that a commit can see of it.
    parts.marks.moved(pin.stats, fstatSync(pin.fd, { bigint: true }))
    return 0
  })
}

/**
 * The name spaces that are passed on. Access control lists would need the kernel's help
 * (FUSE_POSIX_ACL), and security.* and trusted.* belong to the backing file system.
 */
function checkName(name: string): void {
  if (!name.startsWith('user.') || !name.isWellFormed()) {
    throw refusal('EOPNOTSUPP', name)
  }
}

function refusal(errno: string, message: string): ModelcacheError {
  return new ModelcacheError(message, { code: errno, errno })
}
