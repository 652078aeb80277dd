import fc from 'fast-check'

/** Where and how good bytes are spoilt. */
type Change =
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'set'; at: number; value: number }
  | { kind: 'cut'; at: number }
  | { kind: 'insert'; at: number; bytes: Uint8Array }
  | { kind: 'repeat'; at: number; length: number }

const at = fc.double({ min: 0, max: 1, noNaN: true })
/** Lengths and counts that parsers trip over. */
const edge = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)

const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('set' as const), at, value: edge }),
  fc.record({ kind: fc.constant('cut' as const), at }),
  fc.record({ kind: fc.constant('insert' as const), at, bytes: fc.uint8Array({ maxLength: 12 }) }),
  fc.record({ kind: fc.constant('repeat' as const), at, length: fc.integer({ min: 1, max: 40 }) }),
)

/**
 * Bytes as strangers send them: good ones, good ones that were spoilt in a few places, and noise.
 * What is good leads deep into a parser; noise alone would be refused at its first byte.
 */
export function spoilt(good: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const changed = fc
    .tuple(good, fc.array(change, { maxLength: 4 }))
    .map(([bytes, changes]) => changes.reduce(applied, bytes))
  return fc.oneof({ arbitrary: changed, weight: 9 }, fc.uint8Array({ maxLength: 200 }))
}

/** The same of text. */
export function spoiltText(good: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const changed = spoilt(good.map((text) => new Uint8Array(Buffer.from(text))))
  const bytes = changed.map((one) => Buffer.from(one).toString())
  return fc.oneof(
    { arbitrary: bytes, weight: 9 },
    fc.string({ unit: 'grapheme', maxLength: 100 }),
    fc.string({ unit: 'binary', maxLength: 100 }),
  )
}

function applied(bytes: Uint8Array, one: Change): Uint8Array {
  const index = Math.min(Math.floor(one.at * bytes.length), bytes.length)
  const before = bytes.subarray(0, index)
  const after = bytes.subarray(index)
  switch (one.kind) {
    case 'cut':
      return before
    case 'insert':
      return joined(before, one.bytes, after)
    case 'repeat':
      return joined(before, after.subarray(0, one.length), after)
    case 'flip':
      return joined(before, [(after[0] ?? 0) ^ (1 << one.bit)], after.subarray(1))
    case 'set':
      return joined(before, [one.value], after.subarray(1))
  }
}

function joined(...parts: (Uint8Array | number[])[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))))
}
