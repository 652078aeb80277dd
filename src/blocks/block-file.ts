import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fsyncFile, isErrno, ModelcacheError, reached } from '../base/index.ts'

/** Bytes of a block, as importers, exporters and Helia produce them. */
export type BlockInput = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** No block is larger, whoever sends it: the limit of bitswap and of gateways. */
export const MAX_BLOCK_BYTES = 2 * 1024 * 1024

/** How the names of files end that a crash may leave behind. */
export const TEMPORARY = '.tmp'

/** Writes a block by temporary file and rename; the folder is made where it is missing. */
export async function writeBlock(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}${TEMPORARY}`
  const handle = await openInFolder(temporary)
  try {
    try {
      await handle.writeFile(bytes)
    } finally {
      await handle.close()
    }
    reached('node.written')
    await rename(temporary, path)
    reached('node.named')
  } catch (error) {
    await unlinkIfThere(temporary)
    throw error
  }
}

async function openInFolder(path: string) {
  try {
    return await open(path, 'wx', 0o600)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  return open(path, 'wx', 0o600)
}

/** True when the file has exactly these bytes: a power cut can leave others under the name. */
export async function holds(path: string, bytes: Uint8Array): Promise<boolean> {
  const present = await readBlock(path)
  return present !== undefined && Buffer.compare(present, bytes) === 0
}

/** The bytes of a file of the store, unverified; undefined where there is none. */
export async function readBlock(path: string): Promise<Uint8Array | undefined> {
  try {
    const bytes = await readFile(path, { flag: constants.O_RDONLY | constants.O_NOFOLLOW })
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

/** The names in a folder; none where it is missing or no folder. */
export async function readFolder(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      return []
    }
    throw error
  }
}

/** A block that was deleted since needs no durability. */
export async function fsyncIfThere(path: string): Promise<void> {
  try {
    await fsyncFile(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw error
    }
  }
}

/** One array of a block's bytes; stops reading where there are too many. */
export async function collectBlock(input: BlockInput): Promise<Uint8Array> {
  if (input instanceof Uint8Array) {
    if (input.length > MAX_BLOCK_BYTES) {
      throw tooLarge(input.length)
    }
    return input
  }
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of input) {
    length += part.length
    if (length > MAX_BLOCK_BYTES) {
      throw tooLarge(length)
    }
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts, length))
}

function tooLarge(length: number): ModelcacheError {
  return new ModelcacheError(`a block of ${length} bytes or more is too large`, {
    code: 'block-too-large',
    errno: 'EFBIG',
  })
}
