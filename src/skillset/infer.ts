import { join } from 'node:path'
import { type Embedding, embed } from './embed.ts'
import { findModel } from './model-directory.ts'
import { runOnnx } from './run-onnx.ts'

export interface InferOptions {
  /** A directory with an ONNX model, laid out by any of the clients that `findModel` knows. */
  modelDir: string
  /** None: one sample text where the model has a tokenizer, ones where it has none. */
  texts?: readonly string[]
  signal?: AbortSignal | undefined
}

/** What the model made of it, and which library ran it. */
export interface Inference extends Embedding {
  runtime: 'transformers' | 'onnxruntime'
}

/** What a model is asked when the user gave it nothing to read. */
const SAMPLE_TEXT = 'the same model on two machines'

/**
 * Runs the ONNX model in a directory as any program would: with @huggingface/transformers where it
 * has a configuration and a tokenizer, else with onnxruntime alone.
 *
 * @throws ModelcacheError `model-not-found`, `inference-failed` or `usage`
 */
export async function infer(options: InferOptions): Promise<Inference> {
  const { directory, onnxFile, hasTokenizer } = await findModel(options.modelDir)
  const texts = options.texts ?? []
  options.signal?.throwIfAborted()
  if (hasTokenizer) {
    const asked = texts.length > 0 ? texts : [SAMPLE_TEXT]
    const found = { modelDir: directory, onnxFile, texts: asked, signal: options.signal }
    return { ...(await embed(found)), model: options.modelDir, runtime: 'transformers' }
  }
  const result = await runOnnx(join(directory, onnxFile), texts)
  return { ...result, model: options.modelDir, runtime: 'onnxruntime' }
}
