import { resolve } from 'node:path'
import { CID } from 'multiformats/cid'
import { shown, usageError } from './usage.ts'

/** The codecs that a root can have: raw is a file, and a file is no directory. */
const ROOT_CODECS: ReadonlyMap<number, string> = new Map([
  [0x70, 'dag-pb'],
  [0x71, 'dag-cbor'],
])

/** SHA-256: the only hash whose blocks this program makes and checks. */
const SHA2_256 = 0x12

/** `--from`: a CAR file, by its ending or because the value is a path, or else a root. */
export function fromOption(value: string, cwd: string): { from: string } | { car: string } {
  const isPath = value.startsWith('/') && !value.startsWith('/ipfs/') && !value.startsWith('/ipns/')
  const isFile = isPath || /^\.{1,2}\//.test(value) || /\.car$/i.test(value)
  return isFile ? { car: resolve(cwd, value) } : { from: rootOption(value) }
}

/**
 * `--from`: the CID of a root, as `modelcache commit` prints it, or of any UnixFS directory. It is
 * only read here; whether it can be found is known when it is fetched.
 *
 * @returns the CID in its canonical text
 */
export function rootOption(value: string): string {
  const text = value.startsWith('ipfs://') ? value.slice('ipfs://'.length) : value
  const form = 'give the CID that `modelcache commit` prints on the other machine'
  if (text.startsWith('ipns://') || text.startsWith('/ipns/')) {
    throw usageError(`--from ${shown(value)}: names cannot be opened yet; ${form}`)
  }
  const cid = parseCid(text.replace(/^\/ipfs\//, '').replace(/\/$/, ''), value, form)
  if (!ROOT_CODECS.has(cid.code)) {
    throw usageError(
      `--from ${shown(value)}: this CID is of codec 0x${cid.code.toString(16)}, which is no ` +
        `directory; ${form}`,
    )
  }
  if (cid.multihash.code !== SHA2_256) {
    throw usageError(
      `--from ${shown(value)}: this CID is of hash 0x${cid.multihash.code.toString(16)}, and only ` +
        `SHA-256 can be checked; ${form}`,
    )
  }
  return cid.toString()
}

function parseCid(text: string, value: string, form: string): CID {
  try {
    return CID.parse(text)
  } catch (error) {
    throw usageError(`--from ${shown(value)} is no CID; ${form}`, error)
  }
}
