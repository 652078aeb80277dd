import type { CID } from 'multiformats/cid'

/** Reads one verified block. Rejects when it cannot be had; the caller bounds the time. */
export type GetBlock = (cid: CID, signal?: AbortSignal) => Promise<Uint8Array>

/** Stores one dag-pb or dag-cbor block; durable after the store's `flush`. */
export type PutNode = (cid: CID, bytes: Uint8Array) => Promise<void>

/** A name in a UnixFS directory. */
export interface DirectoryEntry {
  name: string
  cid: CID
  /** Bytes of the whole DAG below, as the creator claims; advisory. */
  tsizeBytes: number
}

/** File, directory, symbolic link. */
export type NodeType = 'f' | 'd' | 'l'

/** What the UnixFS tree does not carry of one name. */
export interface MetaEntry {
  name: string
  type: NodeType
  /** Permission bits, 07777. */
  mode: number
  /** Nanoseconds since 1970. */
  mtimeNs: bigint
  sizeBytes: number
  /** Of a directory: the meta block of its entries. */
  metaCid?: CID | undefined
  /** Of a symbolic link. */
  target?: string | undefined
}

/** One moment of a cache tree. */
export interface Commit {
  /** UnixFS directory; equals what Kubo makes of the same files. */
  tree: CID
  /** The meta block of the root directory. */
  meta: CID
  /** Permission bits of the root directory, 07777. */
  rootMode: number
  rootMtimeNs: bigint
  /** Commits that this one follows; the first of a mount has none. */
  parents: CID[]
  /** Lamport clock: greater than that of every parent. */
  sequence: number
  /** Raw Ed25519 public key of the mount that made it: 32 bytes. */
  key: Uint8Array
}

/** A part of a file that is one block, or lies in one. */
export interface FileLeaf {
  cid: CID
  /** Where it begins in the file. */
  offset: number
  length: number
  /** Where the node itself holds the data (dag-pb leaves, identity CIDs): the data. */
  bytes?: Uint8Array | undefined
}

/** What a node of UnixFS is. */
export interface NodeStat {
  type: NodeType
  /** Of a file: as its verified node says. 0 for others. */
  sizeBytes: number
  target?: string | undefined
}
