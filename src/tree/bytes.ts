import { ModelcacheError } from '../base/index.ts'

/** Appends little-endian fields to a growing array of bytes. */
export class ByteWriter {
  readonly #parts: Uint8Array[] = []

  u8(value: number): this {
    return this.bytes(Uint8Array.of(value))
  }

  u16(value: number): this {
    return this.#field(2, (view) => view.setUint16(0, value, true))
  }

  u32(value: number): this {
    return this.#field(4, (view) => view.setUint32(0, value, true))
  }

  u64(value: bigint | number): this {
    return this.#field(8, (view) => view.setBigUint64(0, BigInt(value), true))
  }

  i64(value: bigint): this {
    return this.#field(8, (view) => view.setBigInt64(0, value, true))
  }

  bytes(value: Uint8Array): this {
    this.#parts.push(value)
    return this
  }

  finish(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts))
  }

  #field(length: number, set: (view: DataView) => void): this {
    const field = new Uint8Array(length)
    set(new DataView(field.buffer))
    return this.bytes(field)
  }
}

/** Reads what ByteWriter wrote; every read past the end throws `malformed`. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #what: string
  #at = 0

  /** @param what names the thing in errors, such as `placeholder record` */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true)
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true)
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#take(8), true)
  }

  /** A u64 that has to be exact as a number. */
  size(): number {
    const value = this.u64()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.malformed(`size ${value} is too large`)
    }
    return Number(value)
  }

  bytes(length: number): Uint8Array {
    const start = this.#take(length)
    // A copy, also of a Buffer, whose own slice would share the memory.
    return new Uint8Array(this.#bytes.subarray(start, start + length))
  }

  /** Throws unless everything was read. */
  end(): void {
    if (this.#at !== this.#bytes.length) {
      throw this.malformed(`${this.#bytes.length - this.#at} bytes too many`)
    }
  }

  malformed(why: string): ModelcacheError {
    return new ModelcacheError(`${this.#what} is malformed: ${why}`, {
      code: 'malformed',
      errno: 'EIO',
    })
  }

  #take(length: number): number {
    const start = this.#at
    if (start + length > this.#bytes.length) {
      throw this.malformed(`it ends after ${this.#bytes.length} bytes`)
    }
    this.#at += length
    return start
  }
}
