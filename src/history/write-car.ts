import { CarWriter } from '@ipld/car/writer'
import type { CID } from 'multiformats/cid'
import type { Block } from './root-blocks.ts'

/** A CAR file (version 1) of these blocks, as it streams. */
export async function* carOf(root: CID, blocks: AsyncIterable<Block>): AsyncGenerator<Uint8Array> {
  const { writer, out } = CarWriter.create([root])
  let failure: { cause: unknown } | undefined
  const writing = (async () => {
    try {
      for await (const block of blocks) {
        await writer.put(block)
      }
    } catch (cause) {
      failure = { cause }
    } finally {
      // Without it who reads would wait for ever.
      await writer.close()
    }
  })()
  yield* out
  await writing
  if (failure !== undefined) {
    throw failure.cause
  }
}
