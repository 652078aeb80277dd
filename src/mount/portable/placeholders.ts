import {
  getxattr,
  getxattrFollowed,
  isErrno,
  type Logger,
  messageOf,
  setxattrFollowed,
  XATTR_REPLACE,
} from '../../base/index.ts'
import {
  decodeRecord,
  encodeRecord,
  type PlaceholderRecord,
  RECORD_XATTR,
} from '../../tree/index.ts'

/** Where there can be no record: another file system, or a file that an ordinary user cannot read. */
const WITHOUT = ['ENOTSUP', 'EOPNOTSUPP', 'EACCES']

/**
 * The record of a placeholder, as it is on disk at this moment: in this process nobody changes it
 * while an operation runs. Undefined for what is complete.
 *
 * @param at a path of /proc that leads to the file
 * @throws EIO where there is a record that cannot be read
 */
export function recordAt(at: string): PlaceholderRecord | undefined {
  return decoded(() => getxattrFollowed(at, RECORD_XATTR))
}

/** The same by a name, which is not followed. */
export function recordOf(path: string | Uint8Array): PlaceholderRecord | undefined {
  return decoded(() => getxattr(path, RECORD_XATTR))
}

function decoded(read: () => Uint8Array | undefined): PlaceholderRecord | undefined {
  try {
    const bytes = read()
    return bytes === undefined ? undefined : decodeRecord(bytes)
  } catch (error) {
    // A placeholder always has u+r.
    if (isErrno(error, ...WITHOUT)) {
      return undefined
    }
    throw error
  }
}

/**
 * Mode and mtime of a placeholder are the record's, which is replaced as a whole.
 *
 * @returns false where there is none any more: what was completed meanwhile must not become a
 *   placeholder again
 */
export function replaceRecord(at: string, record: PlaceholderRecord): boolean {
  try {
    setxattrFollowed(at, RECORD_XATTR, encodeRecord(record), XATTR_REPLACE)
    return true
  } catch (error) {
    if (isErrno(error, 'ENODATA')) {
      return false
    }
    throw error
  }
}

/** For a look that must not fail, such as one after a failure. */
export function isPlaceholder(at: string, logger: Logger): boolean {
  try {
    return recordAt(at) !== undefined
  } catch (error) {
    logger.error('a record cannot be read', { at, reason: messageOf(error) })
    return true
  }
}
