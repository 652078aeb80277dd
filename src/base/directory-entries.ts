import { ModelcacheError } from './errors.ts'
import { check, declare } from './libc.ts'

/** asm/unistd_64.h and asm-generic/unistd.h: getdents64 has no function in older C libraries. */
const SYS_GETDENTS64: { readonly [arch: string]: number } = { x64: 217, arm64: 61 }
/** What the C library asks for at a time. */
const LIST_BYTES = 32 * 1024
/** linux/dirent.h, struct linux_dirent64. */
const LENGTH_AT = 16
const TYPE_AT = 18
const NAME_AT = 19

const getdents64 = declare(
  'intptr_t syscall(intptr_t number, int fd, _Out_ void *entries, size_t count)',
)

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
 * @throws the system's error
 */
export function directoryEntries(fd: number): DirectoryEntry[] {
  const number = SYS_GETDENTS64[process.arch]
  if (number === undefined) {
    throw new ModelcacheError(`readdir: not known on ${process.arch}`, {
      code: 'ENOSYS',
      errno: 'ENOSYS',
    })
  }
  const entries: DirectoryEntry[] = []
  const list = Buffer.allocUnsafe(LIST_BYTES)
  for (;;) {
    const filled = getdents64(number, fd, list, list.length)
    check('readdir', filled)
    if (filled === 0) {
      return entries
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
