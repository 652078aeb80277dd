import type { BlockBroker, Helia, Router } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import type { CID } from 'multiformats/cid'

/** Fetches one block from somewhere else and verifies it. */
export type RetrieveBlock = (cid: CID, signal: AbortSignal) => Promise<Uint8Array>

/**
 * With no router at all, or with a fallback router alone, Helia 7.1 never ends a search for
 * providers and does not heed its signal. One router that finds nobody lets it end.
 */
const nobodyRouter: Router = {
  name: 'modelcache-nobody',
  async *findProviders() {
    // Our peers are known by address and asked by the block broker.
  },
}

/**
 * Starts a Helia node over our blocks whose only source of missing ones is `retrieve`: no libp2p,
 * no listening socket, no public router. Helia verifies what the broker brings (sha2-256 and
 * bounded identity only) and puts it into the blockstore.
 *
 * Loading the module costs more than a second and 100 MB (docs/decisions/helia-for-nodes.md), so
 * call this only when the network is needed.
 */
export async function startHelia(
  blockstore: Blockstore,
  retrieve: RetrieveBlock,
  signal: AbortSignal,
): Promise<Helia> {
  const { createHeliaLight } = await import('helia')
  const dagCbor = await import('@ipld/dag-cbor')
  const broker: BlockBroker = {
    name: 'modelcache-http-peers',
    retrieve: (cid, options) => retrieve(cid, options?.signal ?? signal),
  }
  const node = createHeliaLight({
    blockstore,
    codecs: [dagCbor],
    blockBrokers: [broker],
    routers: [nobodyRouter],
  })
  return await node.start()
}
