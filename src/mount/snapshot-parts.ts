import { messageOf } from '../base/index.ts'
import { decodeRecord } from '../tree/index.ts'
import type { ListedDirectory, ListedEntry } from './engine.ts'
import { type Message, protocolError } from './frames.ts'
import {
  decodeArray,
  decodeBigint,
  decodeCount,
  decodeFlag,
  decodeInodeId,
  decodeName,
  decodeSize,
  decodeText,
} from './wire.ts'

const ENTRY_FIELDS = 9

/** Puts the `part` events of one snapshot together: a large directory comes as several. */
export class SnapshotParts {
  readonly directories: ListedDirectory[] = []
  #open: ListedDirectory | undefined

  add(part: Message): void {
    const entries = decodeArray(part.entries, 'part.entries').map(decodeEntry)
    const more = decodeFlag(part.more, 'part.more')
    if (this.#open === undefined) {
      this.#open = {
        path: decodeName(part.path, 'part.path'),
        id: decodeInodeId(part),
        mode: decodeCount(part.mode, 'part.mode'),
        mtimeNs: decodeBigint(part.mtime, 'part.mtime'),
        explicit: decodeFlag(part.explicit, 'part.explicit'),
        entries,
      }
      this.directories.push(this.#open)
    } else {
      if (decodeInodeId(part).ino !== this.#open.id.ino) {
        throw protocolError('a part of another directory came before the last part of this one')
      }
      for (const entry of entries) {
        this.#open.entries.push(entry)
      }
    }
    if (!more) {
      this.#open = undefined
    }
  }

  /** Throws when the last directory is not complete. */
  finish(): ListedDirectory[] {
    if (this.#open !== undefined) {
      throw protocolError('the snapshot was answered before its last part')
    }
    return this.directories
  }
}

function decodeEntry(value: unknown): ListedEntry {
  const fields = decodeArray(value, 'part.entries[]')
  if (fields.length !== ENTRY_FIELDS) {
    throw protocolError(`an entry has ${fields.length} fields`)
  }
  const [name, letter, ino, btime, mode, size, mtime, ctime, extra] = fields
  const type = decodeType(letter)
  const entry: ListedEntry = {
    name: decodeName(name, 'entry.name'),
    type,
    id: decodeInodeId({ ino, btime }),
    mode: decodeCount(mode, 'entry.mode'),
    stamp: {
      sizeBytes: decodeSize(size, 'entry.size'),
      mtimeNs: decodeBigint(mtime, 'entry.mtime'),
      ctimeNs: decodeBigint(ctime, 'entry.ctime'),
    },
  }
  if (type === 'l') {
    entry.target = decodeName(extra, 'entry.target')
  } else if (extra !== null) {
    takeRecord(entry, new Uint8Array(Buffer.from(decodeText(extra, 'entry.record'), 'base64')))
  }
  return entry
}

/** A damaged attribute costs one name of a commit, not the connection. */
function takeRecord(entry: ListedEntry, bytes: Uint8Array): void {
  try {
    entry.record = decodeRecord(bytes)
  } catch (error) {
    entry.damage = messageOf(error)
  }
}

function decodeType(letter: unknown): ListedEntry['type'] {
  if (letter === 'f' || letter === 'd' || letter === 'l' || letter === 'o') {
    return letter
  }
  throw protocolError(`an entry has the type ${JSON.stringify(letter)}`)
}
