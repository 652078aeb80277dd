import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

const RAW = 0x55
const SHA256 = 0x12

/** SHA-256 of a text, and the CID of a raw block with it. */
export function digestOf(text: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(text).digest())
}

export function rawCid(text: string): CID {
  return CID.createV1(RAW, Digest.create(SHA256, digestOf(text)))
}

/** Numbers that look random and are the same each time. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** The bytes with one to four random changes: flipped, cut or added. */
export function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let changed = [...bytes]
  for (let count = 1 + random(4); count > 0; count -= 1) {
    const at = random(changed.length + 1)
    const kind = random(3)
    if (kind === 0 && at < changed.length) {
      changed[at] = random(256)
    } else if (kind === 1) {
      changed = changed.slice(0, at)
    } else {
      changed.splice(at, 0, random(256))
    }
  }
  return Uint8Array.from(changed)
}
