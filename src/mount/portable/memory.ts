/**
 * Memory of libfuse that the addon points to. The addon passes on less than libfuse asks and
 * answers: names as UTF-8, times in milliseconds, inode numbers of 32 bits. So this engine reads
 * questions and writes answers where libfuse has them.
 */
import koffi from 'koffi'

// Null loads the symbols of the process itself, so that glibc and musl both work.
const library = koffi.load(null)
type Copy = (to: bigint | Uint8Array, from: bigint | Uint8Array, count: number) => number
const copyFrom = library.func(
  'uintptr_t memcpy(_Out_ void *to, uintptr_t from, size_t count)',
) as unknown as Copy
const copyTo = library.func(
  'uintptr_t memmove(uintptr_t to, const void *from, size_t count)',
) as unknown as Copy
const stringLength = library.func('size_t strlen(uintptr_t text)') as unknown as (
  address: bigint,
) => number
/** fuse.h, fuse_fill_dir_t. */
const Filler = koffi.proto(
  'int fuse_fill_dir(uintptr_t list, const void *name, const void *stat, int64_t offset)',
)

/** Bytes at an address. Only for addresses of a request that was not answered yet. */
export function peek(address: bigint, count: number): Buffer {
  const bytes = Buffer.allocUnsafe(count)
  copyFrom(bytes, address, count)
  return bytes
}

/** Writes bytes at an address. Only for addresses of a request that was not answered yet. */
export function poke(address: bigint, bytes: Uint8Array): void {
  copyTo(address, bytes, bytes.length)
}

/** A C string, without its NUL. */
export function peekString(address: bigint): Buffer {
  return peek(address, Number(stringLength(address)))
}

/**
 * Adds a name to the list that libfuse answers a READDIR with.
 *
 * @param name with its NUL
 * @returns false where there is no memory
 */
export function fillDirectory(
  filler: bigint,
  list: bigint,
  name: Uint8Array,
  stat: Uint8Array,
): boolean {
  return koffi.call(filler, Filler, list, name, stat, 0) === 0
}
