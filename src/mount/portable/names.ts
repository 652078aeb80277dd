/** Making and removing names: mknod, mkdir, symlink, link, unlink, rmdir, readlink. */
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  mkdirSync,
  readlinkSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { linkFd, ModelcacheError, mknod as makeNode, openAt, readLinkOf } from '../../base/index.ts'
import { inodeIdOf } from '../../tree/index.ts'
import { below, nameOf, parentOf, toNative } from './native-path.ts'
import { type Parts, reach, whenListed } from './parts.ts'
import { type OpenDirectory, pinOf } from './places.ts'
import type { Request } from './request.ts'
import type { Operations } from './session.ts'

const S_IFMT = 0o170000
const S_ISGID = 0o2000
const PERMISSIONS = 0o7777

type NameOperations = Pick<
  Operations,
  'mknod' | 'mkdir' | 'symlink' | 'link' | 'unlink' | 'rmdir' | 'readlink'
>

export function nameOperations(parts: Parts): NameOperations {
  return {
    mknod: (request) => mknod(parts, request),
    mkdir: (request) => mkdir(parts, request),
    symlink: ({ dest, target }) =>
      whenListed(parts, parentOf(dest), (directory) => {
        symlinkSync(target, below(directory.at, nameOf(dest)))
        parts.marks.changed(parentOf(dest))
        return 0
      }),
    link: ({ path, dest }) =>
      whenListed(parts, parentOf(dest), (directory) => link(parts, path, dest, directory)),
    unlink: ({ path }) => {
      if (parts.hidden.isHidden(path)) {
        // The file has lost its name already, and is let go when nobody has it open.
        parts.hidden.removed(path)
        return 0
      }
      return whenListed(parts, parentOf(path), () => {
        removeFile(parts, path)
        return 0
      })
    },
    rmdir: ({ path }) => rmdir(parts, path),
    readlink: (request) => {
      const { path } = request
      const hidden = parts.hidden.get(path)
      if (hidden !== undefined) {
        request.putTarget(readLinkOf(hidden.fd))
        return 0
      }
      return parts.places.inDirectory(parentOf(path), (directory) => {
        request.putTarget(readlinkSync(below(directory.at, nameOf(path)), 'buffer'))
        return 0
      })
    },
  }
}

function mknod(parts: Parts, { path, mode }: Request): number | Promise<number> {
  return whenListed(parts, parentOf(path), (directory) => {
    const kind = mode & S_IFMT
    const at = below(directory.at, nameOf(path))
    if (kind === 0 || kind === constants.S_IFREG) {
      const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY
      const fd = openAt(directory.fd, toNative(nameOf(path)), flags, mode & PERMISSIONS)
      try {
        fchmodSync(fd, mode & PERMISSIONS)
        parts.marks.created(pinOf(fd).id, path)
      } finally {
        closeSync(fd)
      }
      return 0
    }
    if (kind !== constants.S_IFIFO && kind !== constants.S_IFSOCK) {
      // A model cache has no use for devices, and the mount is nodev.
      throw refusal('EPERM', `mknod ${path}`)
    }
    makeNode(at, kind | (mode & PERMISSIONS), 0)
    chmodSync(at, mode & PERMISSIONS)
    parts.marks.changed(parentOf(path))
    return 0
  })
}

function mkdir(parts: Parts, { path, mode }: Request): number | Promise<number> {
  return whenListed(parts, parentOf(path), (directory) => {
    const at = below(directory.at, nameOf(path))
    mkdirSync(at, mode & PERMISSIONS)
    const stats = parts.places.look(directory, nameOf(path))
    // The umask of this process is not the program's; the group is inherited as on a local disk.
    const inherited = Number(stats?.mode ?? 0n) & S_ISGID
    chmodSync(at, (mode & PERMISSIONS) | inherited)
    parts.marks.changed(parentOf(path))
    parts.marks.changed(path)
    return 0
  })
}

function link(parts: Parts, path: string, dest: string, directory: OpenDirectory): number {
  const { marks } = parts
  return reach(parts, path, ({ fd, stats, id }) => {
    if (marks.links(stats) === 0) {
      // Only our own link is left: for programs the file is gone (linkat(2), ENOENT).
      throw refusal('ENOENT', `link ${path}`)
    }
    linkFd(fd, below(directory.at, nameOf(dest)))
    marks.changed(parentOf(dest))
    marks.moved(stats, fstatSync(fd, { bigint: true }))
    if (stats.isFile()) {
      marks.final(id, dest, 'name')
    }
    return 0
  })
}

function rmdir(parts: Parts, path: string): number | Promise<number> {
  // What is not listed looks empty on disk, but is not.
  return whenListed(parts, path, () =>
    whenListed(parts, parentOf(path), (directory) => {
      const stats = existing(parts, directory, path)
      rmdirSync(below(directory.at, nameOf(path)))
      parts.marks.removedDirectory(path, inodeIdOf(stats))
      parts.marks.changed(parentOf(path))
      if (parts.hidden.hasOpenBelow(path)) {
        // libfuse would forget the directory and could not name the open files in it any more, so
        // that nobody could read them. This answer makes the kernel forget it alone.
        throw refusal('ENOENT', `rmdir ${path}: removed, with open files in it`)
      }
      return 0
    }),
  )
}

/** Takes a file's name out of the tree, and tells what became of the file. */
export function removeFile(parts: Pick<Parts, 'places' | 'marks'>, path: string): void {
  parts.places.inDirectory(parentOf(path), (directory) => {
    const lost = prepareLoss(parts, directory, path)
    try {
      unlinkSync(below(directory.at, nameOf(path)))
      parts.marks.changed(parentOf(path))
      lost.tell()
    } finally {
      lost.close()
    }
  })
}

/** A name that is about to lead to its file no more. */
export interface Loss {
  stats: BigIntStats
  /** After the name went. */
  tell(): void
  close(): void
}

export function prepareLoss(
  { places, marks }: Pick<Parts, 'places' | 'marks'>,
  directory: OpenDirectory,
  path: string,
): Loss {
  const stats = existing({ places }, directory, path)
  const hasOtherNames = stats.isFile() && marks.links(stats) > 1
  const pin = hasOtherNames ? places.pin(path) : undefined
  return {
    stats,
    tell() {
      if (pin !== undefined) {
        marks.moved(stats, fstatSync(pin.fd, { bigint: true }))
      } else if (stats.isFile()) {
        marks.gone(inodeIdOf(stats))
      }
    },
    close() {
      if (pin !== undefined) {
        closeSync(pin.fd)
      }
    },
  }
}

function existing(
  { places }: Pick<Parts, 'places'>,
  directory: OpenDirectory,
  path: string,
): BigIntStats {
  const stats = places.look(directory, nameOf(path))
  if (stats === undefined) {
    throw refusal('ENOENT', path)
  }
  return stats
}

function refusal(errno: string, message: string): ModelcacheError {
  return new ModelcacheError(message, { code: errno, errno })
}
