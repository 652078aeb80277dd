import { closeSync } from 'node:fs'
import { ModelcacheError } from '../../base/index.ts'
import type { InodeId } from '../../tree/index.ts'
import type { Filling } from './filling.ts'
import { isBelow } from './native-path.ts'

/** A name by which a file is open: to libfuse, and so to the kernel, a file of its own. */
interface OpenName {
  path: string
  opens: number
}

/** One open file of a program's: from `open` or `create` to `release`. */
export interface OpenFile {
  readonly number: number
  readonly id: InodeId
  readonly key: string
  /** Opened with the opener's access mode. */
  readonly fd: number
  /** Undefined where it was no name in the tree any more. */
  readonly name: OpenName | undefined
  readonly writable: boolean
  readonly append: boolean
  /** What each write waits for until it is on the disk. */
  readonly synchronous: 'none' | 'data' | 'all'
  /** Of what was a placeholder when it was opened. */
  readonly filling: Filling | undefined
}

interface OpenInode {
  files: number
  /** One, but for hard links. */
  names: OpenName[]
  writers: number
  /** Shared by all who have it open, from the first one to the last. */
  filling: Filling | undefined
}

function openName({ names }: OpenInode, path: string): OpenName {
  const known = names.find((name) => name.path === path)
  const name = known ?? { path, opens: 0 }
  name.opens += 1
  if (known === undefined) {
    names.push(name)
  }
  return name
}

function closeName(inode: OpenInode, name: OpenName | undefined): void {
  if (name !== undefined) {
    name.opens -= 1
    inode.names = name.opens === 0 ? inode.names.filter((one) => one !== name) : inode.names
  }
}

/** libfuse keeps the number in 64 bits, the addon gives it back in 32. */
const MAX_NUMBER = 2 ** 31 - 1

/** What programs have open. */
export class OpenFiles {
  readonly #files = new Map<number, OpenFile>()
  readonly #inodes = new Map<string, OpenInode>()
  #last = 0

  /** How many inodes are open, and how many of them for writing. */
  get counts(): { open: number; writing: number } {
    const inodes = [...this.#inodes.values()]
    return { open: inodes.length, writing: inodes.filter(({ writers }) => writers > 0).length }
  }

  isOpen(key: string): boolean {
    return this.#inodes.has(key)
  }

  filling(key: string): Filling | undefined {
    return this.#inodes.get(key)?.filling
  }

  /** Whether somebody has the inode open by another name, which may be gone by now. */
  isOpenByAnother(key: string, path: string): boolean {
    return this.#inodes.get(key)?.names.some((name) => name.path !== path) ?? false
  }

  /** A rename took the name of a file, or of a directory above it, along. */
  moved(from: string, to: string): void {
    for (const { names } of this.#inodes.values()) {
      for (const name of names) {
        if (name.path === from || isBelow(name.path, from)) {
          name.path = to + name.path.slice(from.length)
        }
      }
    }
  }

  /** @param path undefined where it is no name in the tree any more */
  add(file: Omit<OpenFile, 'number' | 'name'>, path: string | undefined): number {
    const inode = this.#inodes.get(file.key) ?? {
      files: 0,
      names: [],
      writers: 0,
      filling: file.filling,
    }
    const name = path === undefined ? undefined : openName(inode, path)
    inode.files += 1
    inode.writers += file.writable ? 1 : 0
    this.#inodes.set(file.key, inode)
    const number = this.#freeNumber()
    this.#files.set(number, { ...file, name, number })
    return number
  }

  /** @throws EBADF, which cannot be: the kernel releases a file last */
  get(number: number): OpenFile {
    const file = this.#files.get(number)
    if (file === undefined) {
      throw new ModelcacheError(`no file is open as ${number}`, { code: 'EBADF', errno: 'EBADF' })
    }
    return file
  }

  /** Closes it; tells what it was the last of. */
  remove(file: OpenFile): { lastWriter: boolean; last: boolean } {
    this.#files.delete(file.number)
    const inode = this.#inodes.get(file.key)
    if (inode === undefined) {
      closeSync(file.fd)
      return { lastWriter: false, last: false }
    }
    inode.files -= 1
    closeName(inode, file.name)
    inode.writers -= file.writable ? 1 : 0
    if (inode.files === 0) {
      this.#inodes.delete(file.key)
    }
    // Before anybody is told that the last writer went: a lease is possible then.
    closeSync(file.fd)
    return { lastWriter: file.writable && inode.writers === 0, last: inode.files === 0 }
  }

  close(): void {
    for (const file of this.#files.values()) {
      closeSync(file.fd)
    }
    this.#files.clear()
    this.#inodes.clear()
  }

  #freeNumber(): number {
    do {
      this.#last = this.#last === MAX_NUMBER ? 1 : this.#last + 1
    } while (this.#files.has(this.#last))
    return this.#last
  }
}
