import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  bytes as bytesField,
  type Field,
  FLOAT,
  floatTensor,
  INT64,
  model,
  node,
  type TensorBytes,
  tensorValue,
} from './onnx-encoding.ts'

/**
 * A BERT-shaped model of one operation, `last_hidden_state = Gather(embedding, input_ids)`: small
 * enough to make in a test, real enough for @huggingface/transformers and onnxruntime. The same
 * options give the same bytes everywhere.
 */
export type TinyModelOptions = {
  /**
   * Rows of the embedding, a multiple of 128; 128 by default. The words' ids are spread evenly
   * over the rows, so that a sentence reads a few places far apart of a large table.
   */
  rows?: number
  /** Columns, 32 by default. A row is four times as many bytes. */
  dimensions?: number
  /** The embedding lies in `model.onnx_data` beside the model instead of in it. */
  externalData?: boolean
  /** Other weights, for another version of the model. */
  seed?: number
}

const WORDS =
  'a an and are as at be by can content directory each every file for from has hash in is it machine ' +
  'model name of on one or other read root same share that the this to two vector was we which with word'

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz0123456789']
const VOCABULARY_SIZE = 128

/** The vocabulary in the order of its ids: special tokens, words, letters, endings. */
function vocabulary(): string[] {
  const words = WORDS.split(' ').filter((word) => word.length > 1)
  const endings = LETTERS.map((letter) => `##${letter}`)
  const tokens = [...SPECIAL, ...words, ...LETTERS, ...endings].slice(0, VOCABULARY_SIZE)
  return tokens
}

/** The model's files by their path in the repository, config first. */
export function tinyModelFiles(options: TinyModelOptions = {}): Map<string, Uint8Array> {
  const { rows = VOCABULARY_SIZE, dimensions = 32, externalData = false, seed = 1 } = options
  if (rows % VOCABULARY_SIZE !== 0) {
    throw new RangeError(`make tiny model: rows ${rows} is no multiple of ${VOCABULARY_SIZE}`)
  }
  const weights = randomWeights(rows * dimensions, seed)
  const stride = rows / VOCABULARY_SIZE
  const vocab = Object.fromEntries(vocabulary().map((token, index) => [token, index * stride]))
  const files = new Map<string, Uint8Array>([
    ['config.json', json(configuration(rows, dimensions, externalData))],
    ['tokenizer.json', json(tokenizer(vocab))],
    ['tokenizer_config.json', json(tokenizerConfiguration())],
  ])
  const content: TensorBytes = externalData
    ? { kind: 'external', location: 'model.onnx_data', sizeBytes: weights.length }
    : { kind: 'inline', bytes: weights }
  files.set('onnx/model.onnx', gatherModel(rows, dimensions, content))
  if (externalData) files.set('onnx/model.onnx_data', weights)
  return files
}

/** Writes the files below `directory`, which is made, and returns their sizes in bytes by path. */
export async function writeTinyModel(
  directory: string,
  options: TinyModelOptions = {},
): Promise<Map<string, number>> {
  const files = tinyModelFiles(options)
  for (const [path, content] of files) {
    await mkdir(dirname(join(directory, path)), { recursive: true })
    await writeFile(join(directory, path), content)
  }
  return new Map([...files].map(([path, content]) => [path, content.length]))
}

function gatherModel(rows: number, dimensions: number, content: TensorBytes): Field {
  const ids = ['batch', 'sequence']
  return model([
    node(1, 'Gather', ['embedding', 'input_ids'], ['last_hidden_state']),
    bytesField(2, 'tiny-bert'),
    floatTensor(5, 'embedding', [rows, dimensions], content),
    tensorValue(11, 'input_ids', INT64, ids),
    tensorValue(11, 'attention_mask', INT64, ids),
    tensorValue(11, 'token_type_ids', INT64, ids),
    tensorValue(12, 'last_hidden_state', FLOAT, [...ids, dimensions]),
  ])
}

/** Floats in [-1, 1) by xorshift32, in the byte order that ONNX prescribes (little-endian). */
function randomWeights(count: number, seed: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(count * 4))
  let state = (seed * 0x9e3779b9) | 1
  for (let index = 0; index < count; index += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    view.setFloat32(index * 4, state / 0x80000000, true)
  }
  return new Uint8Array(view.buffer)
}

function configuration(rows: number, dimensions: number, externalData: boolean): object {
  return {
    architectures: ['BertModel'],
    model_type: 'bert',
    hidden_size: dimensions,
    intermediate_size: dimensions * 2,
    max_position_embeddings: 512,
    num_attention_heads: 2,
    num_hidden_layers: 1,
    pad_token_id: 0,
    type_vocab_size: 2,
    vocab_size: rows,
    ...(externalData
      ? { 'transformers.js_config': { use_external_data_format: { 'model.onnx': 1 } } }
      : {}),
  }
}

function tokenizer(vocab: Record<string, number>): object {
  const id = (token: string) => vocab[token] ?? 0
  const special = (token: string) => ({ id: token, ids: [id(token)], tokens: [token] })
  const place = (token: string) => ({ SpecialToken: { id: token, type_id: 0 } })
  const sequence = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content) => ({
      id: id(content),
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [place('[CLS]'), sequence('A', 0), place('[SEP]')],
      pair: [
        place('[CLS]'),
        sequence('A', 0),
        place('[SEP]'),
        sequence('B', 1),
        { SpecialToken: { id: '[SEP]', type_id: 1 } },
      ],
      special_tokens: { '[CLS]': special('[CLS]'), '[SEP]': special('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  }
}

function tokenizerConfiguration(): object {
  return {
    tokenizer_class: 'BertTokenizer',
    do_lower_case: true,
    model_max_length: 512,
    cls_token: '[CLS]',
    mask_token: '[MASK]',
    pad_token: '[PAD]',
    sep_token: '[SEP]',
    unk_token: '[UNK]',
  }
}

function json(value: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)
}
