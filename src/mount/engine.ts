import type { CID } from 'multiformats/cid'
import type { EngineName } from '../config/index.ts'
import type { EntryType, InodeId, PlaceholderRecord, Stamp } from '../tree/index.ts'
import type { WireName } from './wire.ts'

/** What the engine says first. */
export interface Hello {
  engine: EngineName
  /** The process that holds the mount; this one, where the engine is in it. */
  keeperPid: number
  mountpoint: string
  store: string
  readOnly: boolean
  /** The last stop was clean: no file has to be compared with its stamp. */
  clean: boolean
  /** How often the daemon was started again under this mount. */
  restarts: number
  /** Opaque here; the composition root parses it. */
  config: unknown
  passthrough: { active: boolean; reason: string }
}

/** One thing that happened in the tree. `final` is a hint, the others are facts. */
export type Change =
  | { kind: 'dirty'; id: InodeId }
  | { kind: 'stamp'; id: InodeId; old: Stamp; next: Stamp }
  | { kind: 'final'; id: InodeId; path: WireName; by: 'name' | 'writer' }
  | { kind: 'gone'; id: InodeId }

/** A name of a listed directory, at the moment of the snapshot. */
export interface ListedEntry {
  name: WireName
  type: EntryType
  id: InodeId
  /** Permission bits, 07777. Of a placeholder: the record's, as mtime and size are. */
  mode: number
  stamp: Stamp
  target?: WireName
  record?: PlaceholderRecord
  /** It has a record that cannot be read: neither placeholder nor complete. */
  damage?: string
}

/** One directory at the moment of the snapshot. */
export interface ListedDirectory {
  path: WireName
  id: InodeId
  mode: number
  mtimeNs: bigint
  /** A program set its mode or times since the last committed snapshot. */
  explicit: boolean
  entries: ListedEntry[]
}

/** All changed directories and their ancestors, of one moment, parents first. */
export interface Snapshot {
  number: number
  directories: ListedDirectory[]
  /** Place of the answer among everything that the engine sent: later changes have a greater one. */
  sequence: number
}

/** A read lease on a file: while it holds, nobody has the file open or mapped for writing. */
export interface Lease {
  number: number
  /** Where this process can open the very file that is leased, read-only. */
  path: string
  stamp: Stamp
  /** Place of the answer among everything that the engine sent. */
  sequence: number
}

export interface EngineStats {
  reads: number
  readBytes: number
  writes: number
  passthroughOpens: number
  openFiles: number
  openForWriting: number
  dirty: InodeId[]
}

/** The file or directory that a question is about. */
export interface Subject {
  /** Empty for the root of the tree, and for what has no name any more. */
  path: WireName
  id: InodeId
  /**
   * Where this process can open the very inode, whatever happens to its names; as long as the
   * question is not answered. Undefined where the engine has no descriptor of it.
   */
  at: string | undefined
}

/** Questions and news from the engine. Changes are delivered synchronously, in their order. */
export interface EngineHandlers {
  list(subject: Subject): Promise<void>
  fill(subject: Subject, offset: number, lengthBytes: number): Promise<{ complete: boolean }>
  detach(id: InodeId): Promise<void>
  /** Fails with errno ENODATA while the file is dirty. */
  cid(subject: Subject): Promise<CID>
  changed(changes: readonly Change[], sequence: number): void
  broken(lease: number): void
  drain(reason: string, unmounted: boolean): void
}

/**
 * What serves the mount, as the daemon sees it: the keeper, or an engine inside this process. Every
 * method that returns a promise fails when the engine ends.
 */
export interface Engine {
  /** Takes the handlers; what came before is delivered now. Once. */
  on(handlers: EngineHandlers): void
  ready(): void
  /** Only before `ready`: the mount cannot be served, and says why. Resolves when it was sent. */
  failed(exitCode: number, message: string): Promise<void>
  /** errno EAGAIN: a writer or writable mapping exists. ESTALE: the name has another file or none. */
  lease(path: WireName, id: InodeId): Promise<Lease>
  /**
   * Links `objects/OID` and lets the lease go.
   *
   * @returns the stamp after the link
   * @throws errno ECANCELED when the lease was broken
   */
  settled(lease: number, oid: bigint | null): Promise<Stamp>
  unlease(lease: number): void
  unlinkObjects(oids: readonly bigint[]): Promise<void>
  snapshot(all: boolean): Promise<Snapshot>
  /** @param again directories that hold names which were not settled: they stay changed */
  committed(snapshot: number, again: readonly InodeId[]): void
  notifyInode(id: InodeId): void
  notifyComplete(id: InodeId): void
  notifyEntry(directory: WireName, name: WireName): void
  stats(): Promise<EngineStats>
  /** errno EBUSY while something uses the mount, unless `lazy`. */
  unmount(lazy: boolean): Promise<void>
  /** The last message; resolves when it was handed to the system. */
  done(dirty: number): Promise<void>
  /** Resolves when the engine is gone, with the reason if that was an error. */
  readonly ended: Promise<Error | undefined>
}
