/**
 * Just enough of protocol buffers and of onnx.proto3 (IR version 8, opset 13) to write a model
 * without Python. Field numbers are those of onnx/onnx.proto3.
 */

/** One encoded field of a message. */
export type Field = Uint8Array<ArrayBuffer>

const encoder = new TextEncoder()

/** A message, or the value of a field, put together from encoded parts. */
export function concat(parts: readonly Uint8Array[]): Field {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

/** Wire type 0. Values are not negative and below 2^53. */
export function integer(field: number, value: number): Field {
  return concat([varint(field * 8), varint(value)])
}

/** Wire type 2: a string, bytes or an embedded message. */
export function bytes(field: number, value: Uint8Array | string): Field {
  const content = typeof value === 'string' ? encoder.encode(value) : value
  return concat([varint(field * 8 + 2), varint(content.length), content])
}

/** Wire type 2: an embedded message of these fields. */
export function message(field: number, ...fields: Field[]): Field {
  return bytes(field, concat(fields))
}

function varint(value: number): Field {
  const out: number[] = []
  let rest = value
  while (rest >= 0x80) {
    out.push((rest % 0x80) + 0x80)
    rest = Math.floor(rest / 0x80)
  }
  out.push(rest)
  return Uint8Array.from(out)
}

/** TensorProto.DataType */
export const FLOAT = 1
export const INT64 = 7

/** Where a tensor's bytes are: in the model, or in a file beside it. */
export type TensorBytes =
  | { kind: 'inline'; bytes: Uint8Array }
  | { kind: 'external'; location: string; sizeBytes: number }

/** `TensorProto` of 32-bit floats as field `field`. */
export function floatTensor(
  field: number,
  name: string,
  dimensions: readonly number[],
  content: TensorBytes,
): Field {
  const head = [...dimensions.map((size) => integer(1, size)), integer(2, FLOAT), bytes(8, name)]
  if (content.kind === 'inline') return message(field, ...head, bytes(9, content.bytes))
  const entry = (key: string, value: string) => message(13, bytes(1, key), bytes(2, value))
  return message(
    field,
    ...head,
    entry('location', content.location),
    entry('offset', '0'),
    entry('length', String(content.sizeBytes)),
    integer(14, 1),
  )
}

/** `ValueInfoProto` of a tensor; a dimension is a number or the name of a free one. */
export function tensorValue(
  field: number,
  name: string,
  elementType: number,
  dimensions: readonly (number | string)[],
): Field {
  const shape = dimensions.map((size) =>
    message(1, typeof size === 'number' ? integer(1, size) : bytes(2, size)),
  )
  return message(
    field,
    bytes(1, name),
    message(2, message(1, integer(1, elementType), message(2, ...shape))),
  )
}

/** `NodeProto` without attributes. */
export function node(field: number, operator: string, inputs: string[], outputs: string[]): Field {
  return message(
    field,
    ...inputs.map((name) => bytes(1, name)),
    ...outputs.map((name) => bytes(2, name)),
    bytes(3, operator.toLowerCase()),
    bytes(4, operator),
  )
}

/** `ModelProto` of one graph. */
export function model(graphFields: Field[]): Field {
  return concat([
    integer(1, 8),
    bytes(2, 'modelcache-test'),
    message(7, ...graphFields),
    message(8, bytes(1, ''), integer(2, 13)),
  ])
}
