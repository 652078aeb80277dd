import { ModelcacheError } from '../base/index.ts'

/** The largest frame that either side sends or takes (docs/protocol.md). */
export const MAX_FRAME_BYTES = 16 * 1024 * 1024
const LENGTH_BYTES = 4

/** A parsed frame: an object of JSON values that nobody has looked at yet. */
export type Message = Readonly<Record<string, unknown>>

/** What is wrong with the other side's bytes; the connection ends with it. */
export function protocolError(message: string): ModelcacheError {
  return new ModelcacheError(`keeper protocol: ${message}`, { code: 'protocol', errno: 'EPROTO' })
}

/** One frame: little-endian length and JSON. Throws when it would be too long. */
export function encodeFrame(message: Message): Uint8Array {
  const json = Buffer.from(JSON.stringify(message))
  if (json.length > MAX_FRAME_BYTES) {
    throw protocolError(`a frame of ${json.length} bytes is longer than ${MAX_FRAME_BYTES}`)
  }
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + json.length)
  frame.writeUInt32LE(json.length, 0)
  json.copy(frame, LENGTH_BYTES)
  return frame
}

/**
 * Cuts a stream of bytes into messages. It never holds more than one frame and the chunk that
 * completed it. Throws on a length or a content that the protocol does not know.
 */
export class FrameDecoder {
  #chunks: Uint8Array[] = []
  #heldBytes = 0
  #neededBytes = LENGTH_BYTES
  #inBody = false

  /** Takes the next bytes and hands over every message that they complete, in order. */
  push(chunk: Uint8Array, deliver: (message: Message) => void): void {
    this.#chunks.push(chunk)
    this.#heldBytes += chunk.length
    while (this.#heldBytes >= this.#neededBytes) {
      const bytes = this.#take(this.#neededBytes)
      if (this.#inBody) {
        this.#inBody = false
        this.#neededBytes = LENGTH_BYTES
        deliver(parseMessage(bytes))
      } else {
        const length = bytes.readUInt32LE(0)
        if (length === 0 || length > MAX_FRAME_BYTES) {
          throw protocolError(`a frame says that it has ${length} bytes`)
        }
        this.#inBody = true
        this.#neededBytes = length
      }
    }
  }

  #take(count: number): Buffer {
    const [first] = this.#chunks
    const single = this.#chunks.length === 1 && first !== undefined
    const all = single ? view(first) : Buffer.concat(this.#chunks, this.#heldBytes)
    const rest = all.subarray(count)
    this.#chunks = rest.length > 0 ? [rest] : []
    this.#heldBytes = rest.length
    return all.subarray(0, count)
  }
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function parseMessage(bytes: Buffer): Message {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new ModelcacheError('keeper protocol: a frame is no JSON', { code: 'protocol', cause })
  }
  return asMessage(value, 'a frame')
}

/** The value as an object, or a protocol error that says what it should have been. */
export function asMessage(value: unknown, what: string): Message {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw protocolError(`${what} is no object`)
  }
  return value as Message
}
