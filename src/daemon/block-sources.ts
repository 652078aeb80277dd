import type { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import { type CacheBlockstore, NotFoundError } from '../blocks/index.ts'
import type { Gate } from '../config/index.ts'
import type { Sources } from '../hydrate/index.ts'
import type { Network } from '../ipfs/index.ts'

/** Blocks of our own store only; undefined for what is not here. */
export async function localBlock(
  blockstore: Pick<CacheBlockstore, 'getBytes'>,
  cid: CID,
  signal?: AbortSignal,
): Promise<Uint8Array | undefined> {
  try {
    return await blockstore.getBytes(cid, signal)
  } catch (error) {
    if (error instanceof NotFoundError) {
      return undefined
    }
    throw error
  }
}

/** Where bytes come from: our own store, and the network while the gate is open. */
export function createSources(
  blockstore: Pick<CacheBlockstore, 'getBytes'>,
  network: Network | undefined,
  gate: Gate,
): Sources {
  const getLocal = (cid: CID, signal?: AbortSignal) => localBlock(blockstore, cid, signal)
  if (network !== undefined) {
    return {
      getLocal,
      getBlock: (cid, signal) => network.getBlock(cid, signal),
      fetchRange: (...args) => network.fetchRange(...args),
    }
  }
  return {
    getLocal,
    async getBlock(cid, signal) {
      const bytes = await getLocal(cid, signal)
      if (bytes === undefined) {
        throw gateClosed(cid, gate)
      }
      return bytes
    },
    // biome-ignore lint/correctness/useYield: it only fails, as an iteration does
    async *fetchRange(file) {
      throw gateClosed(file, gate)
    },
  }
}

function gateClosed(cid: CID, gate: Gate): ModelcacheError {
  return new ModelcacheError(`${cid} is not here, and the gate is closed by ${gate.by}`, {
    code: 'gate-closed',
    errno: 'EIO',
    exitCode: 5,
  })
}
