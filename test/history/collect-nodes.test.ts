import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CID } from 'multiformats/cid'
import { collectNodes } from '../../src/history/index.ts'
import { directory } from '../hostile/dags.ts'
import { blockOf } from '../ipfs/fake-peer.ts'

const DAG_CBOR = 0x71

async function* nothing(): AsyncGenerator<never> {}

describe('collecting nodes', () => {
  it('keeps what a block leads to that a stranger names with other codecs as well', async () => {
    const blocks = new Map<string, Uint8Array>()
    const inner = directory({ blocks }, [])
    const outer = directory({ blocks }, [{ name: 'inner', cid: inner }])
    const alias = CID.createV1(DAG_CBOR, outer.multihash)
    const root = directory({ blocks }, [
      { name: 'a', cid: outer },
      { name: 'b', cid: alias },
    ])
    const stranger = directory({ blocks }, [
      { name: 'nobody needs it', cid: blockOf(0x55, new Uint8Array()) },
    ])
    const byHash = new Map(
      [...blocks].map(([text, bytes]) => [`${CID.parse(text).multihash.bytes}`, bytes]),
    )
    for (const roots of [[root], [alias, root], [root, alias]]) {
      const kept: string[] = []
      await collectNodes({
        nodes: {
          hold: () => ({ end: () => {} }),
          sweep: async (isNeeded) => {
            for (const cid of [root, outer, inner, stranger]) {
              if (isNeeded(cid.multihash.bytes)) {
                kept.push(cid.toString())
              }
            }
            return { blocks: 0, bytes: 0 }
          },
        },
        database: {
          files: { entries: nothing },
          directories: { entries: nothing },
          objects: { entries: nothing },
        } as never,
        getLocal: async (cid) => byHash.get(`${cid.multihash.bytes}`),
        roots: () => roots,
      })
      assert.deepEqual(kept, [root, outer, inner].map(String))
    }
  })
})
