import type { Command } from 'commander'
import { ModelcacheError } from '../base/index.ts'
import type { Context } from './context.ts'
import { answerFacts } from './terminal.ts'

/** Numbers of a vector that are shown to people: enough to compare two runs by eye. */
const SHOWN_NUMBERS = 8

/** `modelcache infer`. */
export function addInfer(program: Command, context: Context): void {
  const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value]
  program
    .command('infer')
    .summary('run an ONNX model from a directory')
    .description('Runs the ONNX model in MODEL_DIR with onnxruntime, as any program would.')
    .argument('<MODEL_DIR>', 'a directory with an ONNX model, in a mount or not')
    .option('--text <TEXT>', 'what the model reads; may be repeated', collect)
    .option('--json', 'answer {"model", "runtime", "dimensions", "vectors"}')
    .addHelpText(
      'after',
      '\nExample:\n  modelcache infer ./model_cache/hub/models--me--tiny --text "hello"',
    )
    .action(async (modelDir: string, words: { text?: string[]; json?: boolean }) => {
      const { infer } = await import('../skillset/index.ts')
      const texts = words.text ?? []
      const result = await explained(infer({ modelDir, texts, signal: context.signal }))
      answerFacts(context.terminal, words.json, result, [
        `${result.model}: ${result.dimensions} dimensions, by ${result.runtime}`,
        ...result.vectors.map((vector, index) => `${texts[index] ?? ''}\t${vectorText(vector)}`),
      ])
    })
}

/** Where there is no model, the next question is what would be one. */
async function explained<T>(inference: Promise<T>): Promise<T> {
  try {
    return await inference
  } catch (error) {
    if (error instanceof ModelcacheError && error.code === 'model-not-found') {
      throw new ModelcacheError(
        `${error.message}; give a directory with model.onnx or onnx/model.onnx in it, or a ` +
          'models--OWNER--NAME of a hub cache',
        { code: error.code, exitCode: error.exitCode ?? 1, cause: error },
      )
    }
    throw error
  }
}

function vectorText(vector: readonly number[]): string {
  const numbers = vector.slice(0, SHOWN_NUMBERS).map((number) => number.toFixed(6))
  return `[${numbers.join(', ')}${vector.length > SHOWN_NUMBERS ? ', …' : ''}]`
}
