import { constants } from 'node:os'
import koffi from 'koffi'
import { ModelcacheError } from '../../base/index.ts'

/** asm/unistd_64.h of x86-64. */
const SYS_GETDENTS64 = 217
/** What the C library asks for at a time. */
const LIST_BYTES = 32 * 1024
/** linux/dirent.h, struct linux_dirent64. */
const LENGTH_AT = 16
const TYPE_AT = 18
const NAME_AT = 19

const getdents64 = koffi
  .load(null)
  .func(
    'intptr_t syscall(intptr_t number, int fd, _Out_ void *entries, size_t count)',
  ) as unknown as (number: number, fd: number, entries: Uint8Array, count: number) => number

export interface DirectoryEntry {
  /** Its bytes, with a NUL at the end. */
  name: Uint8Array
  ino: bigint
  /** `DT_…` of dirent.h. */
  type: number
}

/**
 * The entries of an open directory without `.` and `..`, in the file system's order. Node's own
 * readdir leaves the inode numbers out.
 *
 * @param fd at its beginning
 */
export function directoryEntries(fd: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = []
  const list = Buffer.allocUnsafe(LIST_BYTES)
  for (;;) {
    const filled = getdents64(SYS_GETDENTS64, fd, list, list.length)
    if (filled === 0) {
      return entries
    }
    if (filled < 0) {
      throw readFailed(koffi.errno())
    }
    for (let at = 0; at < filled; at += list.readUInt16LE(at + LENGTH_AT)) {
      const start = at + NAME_AT
      const name = Uint8Array.prototype.slice.call(list, start, list.indexOf(0, start) + 1)
      if (!isDot(name)) {
        entries.push({ name, ino: list.readBigUInt64LE(at), type: list.readUInt8(at + TYPE_AT) })
      }
    }
  }
}

/** The order of bytes, which a NUL at the end does not change. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

function isDot(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 2 || (name.length === 3 && name[1] === 0x2e))
}

function readFailed(number: number): ModelcacheError {
  const found = Object.entries(constants.errno).find(([, value]) => value === number)
  const errno = found?.[0] ?? 'EIO'
  return new ModelcacheError(`readdir: ${errno}`, { code: errno, errno })
}
