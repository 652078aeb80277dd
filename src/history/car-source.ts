import type { CID } from 'multiformats/cid'
import type { Sources } from '../hydrate/index.ts'
import type { CarFile } from './car-file.ts'

/** These sources, and before the network a CAR file. */
export function withCar(sources: Sources, car: Pick<CarFile, 'get'>): Sources {
  return {
    getLocal: (cid, signal) => sources.getLocal(cid, signal),
    async getBlock(cid: CID, signal) {
      const own = (await sources.getLocal(cid, signal)) ?? (await car.get(cid))
      return own ?? sources.getBlock(cid, signal)
    },
    async *fetchRange(file, offset, length, leaves, signal) {
      const end = offset + length
      const wanted = leaves.filter(
        (leaf) => leaf.offset < end && leaf.offset + leaf.length > offset,
      )
      for (const [index, leaf] of wanted.entries()) {
        signal?.throwIfAborted()
        const bytes = await car.get(leaf.cid)
        if (bytes === undefined || bytes.length !== leaf.length) {
          const from = Math.max(leaf.offset, offset)
          yield* sources.fetchRange(file, from, end - from, wanted.slice(index), signal)
          return
        }
        yield { cid: leaf.cid, offset: leaf.offset, bytes }
      }
    },
  }
}
