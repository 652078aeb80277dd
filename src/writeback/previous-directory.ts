import type { CID } from 'multiformats/cid'
import { type GetBlock, listDirectory, type MetaEntry, readMeta, statNode } from '../dag/index.ts'
import type { DirectoryRow } from '../tree/index.ts'

/** A name of the previous root. */
export interface PreviousEntry {
  cid: CID
  tsizeBytes: number
  meta: MetaEntry
}

/** Modes of bare UnixFS, which carries none. */
const BARE_MODES = { f: 0o644, d: 0o755, l: 0o777 } as const

/** What the last root, or the listing of an adopted one, made of a directory; read when asked. */
export class PreviousDirectory {
  readonly row: DirectoryRow | undefined
  readonly #getBlock: GetBlock
  #entries: Promise<ReadonlyMap<string, PreviousEntry>> | undefined

  constructor(row: DirectoryRow | undefined, getBlock: GetBlock) {
    this.row = row
    this.#getBlock = getBlock
  }

  /** Its names; none where the directory is new. */
  entries(): Promise<ReadonlyMap<string, PreviousEntry>> {
    this.#entries ??= this.#read()
    return this.#entries
  }

  /** Lets the names go: a commit looks at many directories. */
  release(): void {
    this.#entries = undefined
  }

  async #read(): Promise<ReadonlyMap<string, PreviousEntry>> {
    const entries = new Map<string, PreviousEntry>()
    const { row } = this
    if (row === undefined) {
      return entries
    }
    const metas = new Map<string, MetaEntry>()
    if (row.metaCid !== undefined) {
      for await (const meta of readMeta(this.#getBlock, row.metaCid)) {
        metas.set(meta.name, meta)
      }
    }
    for await (const { name, cid, tsizeBytes } of listDirectory(this.#getBlock, row.cid)) {
      const meta = metas.get(name) ?? (await this.#bareMeta(name, cid, row))
      entries.set(name, { cid, tsizeBytes, meta })
    }
    return entries
  }

  async #bareMeta(name: string, cid: CID, row: DirectoryRow): Promise<MetaEntry> {
    const { type, sizeBytes, target } = await statNode(this.#getBlock, cid)
    return { name, type, mode: BARE_MODES[type], mtimeNs: row.mtimeNs, sizeBytes, target }
  }
}
