import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { sha256 } from 'multiformats/hashes/sha2'
import { ModelcacheError, messageOf } from '../base/index.ts'
import { sha256Of, verifiableHash } from '../blocks/index.ts'

/** A value as a dag-cbor block with its CID (version 1, SHA-256). */
export function encodeCbor(value: unknown): { cid: CID; bytes: Uint8Array } {
  const bytes = dagCbor.encode(value)
  const cid = CID.createV1(dagCbor.code, Digest.create(sha256.code, sha256Of(bytes)))
  return { cid, bytes }
}

/** Checks fields of a decoded block; every failure is one error that names the block's kind. */
export class CborFields {
  readonly #fields: ReadonlyMap<string, unknown>
  readonly #what: string

  /** @param what names the block in errors, such as `commit` */
  constructor(bytes: Uint8Array, what: string) {
    this.#what = what
    const value = decode(bytes, (why) => this.malformed(why))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.malformed('it is not a map')
    }
    this.#fields = new Map(Object.entries(value))
  }

  has(name: string): boolean {
    return this.#fields.has(name)
  }

  get(name: string): unknown {
    return this.#fields.get(name)
  }

  list(name: string, maximum: number): unknown[] {
    const value = this.get(name)
    if (!Array.isArray(value) || value.length > maximum) {
      throw this.malformed(`${name} is not a list of at most ${maximum}`)
    }
    return value
  }

  cid(name: string, code: number): CID {
    return this.asCid(this.get(name), name, code)
  }

  integer(name: string, maximum: number): number {
    return this.asInteger(this.get(name), name, maximum)
  }

  int64(name: string): bigint {
    return this.asInt64(this.get(name), name)
  }

  asCid(value: unknown, name: string, code: number): CID {
    const cid = CID.asCID(value)
    if (cid === null || cid.code !== code) {
      throw this.malformed(`${name} is not a CID of codec 0x${code.toString(16)}`)
    }
    verifiableHash(cid)
    return cid
  }

  asInteger(value: unknown, name: string, maximum: number): number {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maximum) {
      throw this.malformed(`${name} is not a number up to ${maximum}`)
    }
    return value
  }

  asInt64(value: unknown, name: string): bigint {
    const integer = typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value
    if (typeof integer !== 'bigint' || BigInt.asIntN(64, integer) !== integer) {
      throw this.malformed(`${name} is not an integer of 64 bits`)
    }
    return integer
  }

  malformed(why: string): ModelcacheError {
    return new ModelcacheError(`${this.#what} is malformed: ${why}`, {
      code: 'malformed',
      errno: 'EIO',
    })
  }
}

function decode(bytes: Uint8Array, malformed: (why: string) => ModelcacheError): unknown {
  try {
    return dagCbor.decode(bytes)
  } catch (error) {
    throw malformed(messageOf(error))
  }
}
