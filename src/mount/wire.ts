/** How the fields of docs/protocol.md become values of ours, and back. */
import type { InodeId, Stamp } from '../tree/index.ts'
import { asMessage, type Message, protocolError } from './frames.ts'

/** A name or path: a string where its bytes are UTF-8, else the bytes. */
export type WireName = string | Uint8Array

/** Linux's PATH_MAX is 4096; a tree can be deeper, so the bound is only against nonsense. */
const MAX_PATH_BYTES = 64 * 1024
const DECIMAL = /^-?[0-9]{1,20}$/

export function decodeBigint(value: unknown, what: string): bigint {
  if (typeof value === 'number' && Number.isSafeInteger(value)) {
    return BigInt(value)
  }
  if (typeof value !== 'string' || !DECIMAL.test(value)) {
    throw protocolError(`${what} is no decimal number: ${JSON.stringify(value)}`)
  }
  return BigInt(value)
}

/** A 64-bit number that has to fit a double exactly: sizes, offsets. */
export function decodeSize(value: unknown, what: string): number {
  const number = Number(decodeBigint(value, what))
  if (!Number.isSafeInteger(number) || number < 0) {
    throw protocolError(`${what} is out of range: ${JSON.stringify(value)}`)
  }
  return number
}

/** A small number: lease, descriptor, mode, count. */
export function decodeCount(value: unknown, what: string): number {
  return decodeSize(value, what)
}

export function decodeFlag(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') {
    throw protocolError(`${what} is no boolean: ${JSON.stringify(value)}`)
  }
  return value
}

export function decodeText(value: unknown, what: string): string {
  if (typeof value !== 'string') {
    throw protocolError(`${what} is no string: ${JSON.stringify(value)}`)
  }
  return value
}

export function decodeArray(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw protocolError(`${what} is no list`)
  }
  return value
}

export function decodeName(value: unknown, what: string): WireName {
  if (typeof value === 'string') {
    if (value.length > MAX_PATH_BYTES) {
      throw protocolError(`${what} is too long`)
    }
    return value
  }
  const text = decodeText(asMessage(value, what).b64, what)
  if (text.length > 2 * MAX_PATH_BYTES) {
    throw protocolError(`${what} is too long`)
  }
  return new Uint8Array(Buffer.from(text, 'base64'))
}

export function encodeName(name: WireName): unknown {
  return typeof name === 'string' ? name : { b64: Buffer.from(name).toString('base64') }
}

/** For people and logs only: bytes that are not UTF-8 are replaced. */
export function printableName(name: WireName): string {
  return typeof name === 'string' ? name : Buffer.from(name).toString('utf8')
}

export function decodeInodeId(message: Message): InodeId {
  return { ino: decodeBigint(message.ino, 'ino'), btimeNs: decodeBigint(message.btime, 'btime') }
}

export function encodeInodeId(id: InodeId): { ino: string; btime: string } {
  return { ino: id.ino.toString(), btime: id.btimeNs.toString() }
}

export function decodeStamp(value: unknown, what: string): Stamp {
  const message = asMessage(value, what)
  return {
    sizeBytes: decodeSize(message.size, `${what}.size`),
    mtimeNs: decodeBigint(message.mtime, `${what}.mtime`),
    ctimeNs: decodeBigint(message.ctime, `${what}.ctime`),
  }
}
