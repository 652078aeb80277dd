import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { ModelcacheError, messageOf } from '../base/index.ts'
import type { Embedding } from './embed.ts'

/**
 * Runs any ONNX model once with onnxruntime, without a tokenizer: a model whose inputs are strings
 * gets the texts, every other one gets ones in the shape that it declares (1 where a dimension is
 * free). What comes back are the rows of its first output: the proof that every byte that the
 * model needs is there, and figures to compare between two machines.
 *
 * @throws ModelcacheError `inference-failed`; `usage` where texts were given and cannot go in
 */
export async function runOnnx(path: string, texts: readonly string[]): Promise<Embedding> {
  const runtime = await import('onnxruntime-node')
  let session: InferenceSession | undefined
  try {
    session = await runtime.InferenceSession.create(path, { executionProviders: ['cpu'] })
    const inputs = session.inputMetadata.map((input) => describeInput(path, input))
    const takesText = inputs.some((input) => input.type === 'string')
    if (texts.length > 0 && !takesText) {
      throw new ModelcacheError(
        `infer ${path}: text needs config.json and tokenizer.json beside the model; run it without --text`,
        { code: 'usage', exitCode: 2 },
      )
    }
    const feeds = inputs.map((input) => [input.name, feed(runtime.Tensor, input, texts)] as const)
    const outputs = await session.run(Object.fromEntries(feeds))
    const first = outputs[session.outputNames[0] ?? '']
    if (first === undefined) throw new Error('the model has no output')
    const vectors = rowsOf(first)
    return { model: path, dimensions: vectors[0]?.length ?? 0, vectors }
  } catch (cause) {
    if (cause instanceof ModelcacheError) throw cause
    throw new ModelcacheError(`infer ${path}: ${messageOf(cause)}`, {
      code: 'inference-failed',
      exitCode: 1,
      cause,
    })
  } finally {
    await session?.release()
  }
}

type TensorInput = InferenceSession.TensorValueMetadata

function describeInput(path: string, input: InferenceSession.ValueMetadata): TensorInput {
  if (input.isTensor) return input
  throw new ModelcacheError(`infer ${path}: input ${input.name} is no tensor`, {
    code: 'inference-failed',
    exitCode: 1,
  })
}

/** The arrays that onnxruntime takes for each type of tensor that can be filled with ones. */
const FILLERS: Readonly<Record<string, (length: number) => Tensor.DataType>> = {
  float32: (length) => new Float32Array(length).fill(1),
  float64: (length) => new Float64Array(length).fill(1),
  // Half floats travel as their bits: 0x3c00 is 1.
  float16: (length) => new Uint16Array(length).fill(0x3c00),
  int8: (length) => new Int8Array(length).fill(1),
  uint8: (length) => new Uint8Array(length).fill(1),
  int16: (length) => new Int16Array(length).fill(1),
  uint16: (length) => new Uint16Array(length).fill(1),
  int32: (length) => new Int32Array(length).fill(1),
  uint32: (length) => new Uint32Array(length).fill(1),
  int64: (length) => new BigInt64Array(length).fill(1n),
  uint64: (length) => new BigUint64Array(length).fill(1n),
  bool: (length) => new Uint8Array(length).fill(1),
}

function feed(
  TensorType: typeof import('onnxruntime-node').Tensor,
  input: TensorInput,
  texts: readonly string[],
): Tensor {
  if (input.type === 'string') {
    const strings = texts.length > 0 ? [...texts] : ['']
    // The first free dimension is the batch; whatever follows it holds one string each.
    const shape = input.shape.map((_, index) => (index === 0 ? strings.length : 1))
    return new TensorType('string', strings, shape)
  }
  const shape = input.shape.map((size) => (typeof size === 'number' && size > 0 ? size : 1))
  const length = shape.reduce((product, size) => product * size, 1)
  const fill = FILLERS[input.type]
  if (fill === undefined) {
    throw new Error(`input ${input.name} has the type ${input.type}, which cannot be filled`)
  }
  return new TensorType(input.type, fill(length), shape)
}

/** The output as rows along its last dimension; a scalar is one row of one number. */
function rowsOf(output: Tensor): number[][] {
  const numbers = Array.from(output.data, Number)
  const width = output.dims.at(-1) ?? 1
  const rows: number[][] = []
  for (let start = 0; start < numbers.length; start += width) {
    rows.push(numbers.slice(start, start + width))
  }
  return rows
}
