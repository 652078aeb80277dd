import * as dagCbor from '@ipld/dag-cbor'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { messageOf } from '../base/index.ts'
import { malformed } from './unixfs-node.ts'

/** What a node leads to. */
export interface NodeLinks {
  /** Of what kind the node is; `block`: a commit or meta block. */
  kind: 'file' | 'directory' | 'block'
  links: CID[]
}

/**
 * All links of a stored node, in their order. Those of a commit are its tree and its meta: its
 * parents are roots of their own.
 *
 * @throws ModelcacheError `malformed-node` for bytes that are no such node
 */
export function linksOf(cid: CID, bytes: Uint8Array): NodeLinks {
  try {
    return decodedLinks(cid, bytes)
  } catch (error) {
    throw malformed(cid, messageOf(error))
  }
}

/**
 * The nodes and files that a node leads to; the raw leaves of a file are left out. A block that is no
 * node leads nowhere: one that a stranger made must not end a walk over all the others.
 */
export function nodesAndFilesOf(cid: CID, bytes: Uint8Array): CID[] {
  try {
    const { kind, links } = decodedLinks(cid, bytes)
    return kind === 'file' ? links.filter((link) => link.code !== raw.code) : links
  } catch (error) {
    if (error instanceof Error) {
      return []
    }
    throw error
  }
}

function decodedLinks(cid: CID, bytes: Uint8Array): NodeLinks {
  if (cid.code === dagPb.code) {
    const node = dagPb.decode(bytes)
    const links = node.Links.map((link) => CID.asCID(link.Hash) ?? CID.decode(link.Hash.bytes))
    const isDirectory = node.Data !== undefined && UnixFS.unmarshal(node.Data).isDirectory()
    return { kind: isDirectory ? 'directory' : 'file', links }
  }
  const links = cid.code === dagCbor.code ? linksIn(dagCbor.decode(bytes)) : []
  return { kind: 'block', links }
}

function linksIn(value: unknown): CID[] {
  const cid = CID.asCID(value)
  if (cid !== null) {
    return [cid]
  }
  if (Array.isArray(value)) {
    return value.flatMap(linksIn)
  }
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    return Object.entries(value).flatMap(([name, inner]) =>
      name === 'parents' ? [] : linksIn(inner),
    )
  }
  return []
}
