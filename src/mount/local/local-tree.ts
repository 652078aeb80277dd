import type { InodeId, Stamp, StorePaths } from '../../tree/index.ts'
import type { EngineHandlers, Lease, Snapshot } from '../engine.ts'
import type { WireName } from '../wire.ts'

/** Who is told what happened, in the order in which it happened. */
export type ChangeSink = Pick<EngineHandlers, 'changed' | 'broken'>

/**
 * The cache tree as an engine in this process holds it: the store's lock and marks, leases, objects,
 * the dirty log, and which directories changed. What the keeper is for the native engine.
 *
 * Everything that returns nothing is done when it returns: one thread runs operations and this, so
 * that a caller may answer a program right after.
 */
export interface LocalTree {
  readonly paths: StorePaths
  /** The last stop was clean: no file has to be compared with its stamp. */
  readonly clean: boolean
  /** Clean at the start, and nothing was made dirty or marked since. */
  readonly untouched: boolean
  /** Once; what came before is delivered now. */
  listen(sink: ChangeSink): void

  /** A file that was made a moment ago: dirty, and without a row. */
  created(id: InodeId): void
  /**
   * Right before a file is opened for writing or truncated, with nothing awaited in between: gives
   * up its lease, notes it in the dirty log, durably, and says `dirty`, unless it is known to be
   * dirty. What has no name any more is never settled, so only its lease goes.
   *
   * @param path one name of it, whose directory is listed again; undefined where it has none
   * @param links as programs see them; with several all of the tree is listed again
   * @throws the errno of the log's write: then the program must not get to write
   */
  willWrite(id: InodeId, path: string | undefined, links: number): void
  /** chmod, utimes, rename, link: the content is what it was, and its stamp moved. */
  stampMoved(id: InodeId, old: Stamp, next: Stamp): void
  /** A hint: it got its name by rename or link, or its last writer went. */
  final(id: InodeId, path: string, by: 'name' | 'writer'): void
  /**
   * Attributes of a file changed, which the entries of all its names show.
   *
   * @param path one of its names; undefined where it is not known
   * @param links as programs see them; with several all of the tree is listed again
   */
  changedFile(path: string | undefined, links: number): void
  /** Its last name in the tree went. */
  gone(id: InodeId): void

  /** A name in it, its mode or its times changed. `explicit`: a program set mode or times. */
  changedDirectory(path: string, explicit?: boolean): void
  /** What is marked below `from` is marked below `to`. */
  movedDirectory(from: string, to: string): void
  removedDirectory(path: string): void

  /** Links of ours in objects/, which programs must not see in st_nlink; it is never below 0. */
  ourLinks(id: InodeId): number
  /** The ctime that programs see: without the moment in which such a link was made or removed. */
  shownCtimeNs(id: InodeId, ctimeNs: bigint): bigint
  dirty(): InodeId[]

  /** As `Engine` has them. */
  lease(path: WireName, id: InodeId): Promise<Lease>
  settled(lease: number, oid: bigint | null): Promise<Stamp>
  unlease(lease: number): void
  unlinkObjects(oids: readonly bigint[]): Promise<void>
  /**
   * @param yielding - lets other work run while it walks: for an engine that cannot shut programs
   *   out anyway. Without it the walk is one moment of the tree.
   */
  snapshot(all: boolean, yielding: boolean): Promise<Snapshot>
  committed(snapshot: number, again: readonly InodeId[]): void

  /**
   * Lets leases and the lock go. With `clean` (nothing dirty, and nobody can have changed the tree
   * unseen) the dirty log is emptied and the `unclean` mark removed, durably.
   */
  close(clean: boolean): Promise<void>
}
