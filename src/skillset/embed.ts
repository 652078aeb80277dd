import { mkdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { FeatureExtractionPipeline, PretrainedModelOptions } from '@huggingface/transformers'
import { KeyedLock, ModelcacheError, messageOf } from '../base/index.ts'

/** A model of a hub, kept in `cacheDir` as transformers.js does it. */
export interface HubModel {
  /** `owner/name` */
  modelId: string
  /** Made if need be; the files land in `cacheDir/owner/name/[revision/]`. */
  cacheDir: string
  /** Address of another hub, `http://127.0.0.1:8399/` for example. */
  remoteHost?: string | undefined
  /** Branch, tag or commit; `main` by default. */
  revision?: string | undefined
  /** Take what is in the cache and ask no hub. */
  localFilesOnly?: boolean | undefined
}

/** A model whose files are in a directory already. */
export interface LocalModel {
  modelDir: string
  /** The model in it, `onnx/model.onnx` by default. */
  onnxFile?: string | undefined
}

export type EmbedOptions = (HubModel | LocalModel) & {
  /** At least one. */
  texts: readonly string[]
  signal?: AbortSignal | undefined
}

/** One vector for each text, of length 1 (L2), in the order of the texts. */
export interface Embedding {
  model: string
  dimensions: number
  vectors: number[][]
}

/** The settings of transformers.js are global: one loads at a time. */
const loading = new KeyedLock()

/**
 * The first skillset, in the pattern of upstream's `default_embed`: make the model cache, load the
 * model with it as the cache directory, and turn texts into vectors (mean of the last hidden
 * state). It uses the directory as any program would and knows nothing of mounts.
 *
 * @throws ModelcacheError `inference-failed`, naming the model and what the library said
 */
export async function embed(options: EmbedOptions): Promise<Embedding> {
  const name = 'modelId' in options ? options.modelId : options.modelDir
  if (options.texts.length === 0) {
    throw new ModelcacheError(`embed with ${name}: no text given`, { code: 'usage', exitCode: 2 })
  }
  try {
    const extractor = await loading.run('transformers', () => load(options))
    try {
      options.signal?.throwIfAborted()
      const output = await extractor([...options.texts], { pooling: 'mean', normalize: true })
      const vectors: number[][] = output.tolist()
      return { model: name, dimensions: vectors[0]?.length ?? 0, vectors }
    } finally {
      await extractor.dispose()
    }
  } catch (cause) {
    options.signal?.throwIfAborted()
    throw new ModelcacheError(`embed with ${name}: ${messageOf(cause)}`, {
      code: 'inference-failed',
      exitCode: 1,
      cause,
    })
  }
}

async function load(options: EmbedOptions): Promise<FeatureExtractionPipeline> {
  options.signal?.throwIfAborted()
  // Loaded on first use: the library and its runtime cost a fifth of a second and 80 MB.
  const { env, pipeline } = await import('@huggingface/transformers')
  if ('modelDir' in options) {
    return await withSettings(env, { allowRemoteModels: false }, () =>
      pipeline('feature-extraction', options.modelDir, localOptions(options)),
    )
  }
  await mkdir(options.cacheDir, { recursive: true })
  const { remoteHost, localFilesOnly = false } = options
  const settings: Partial<Settings> = {
    cacheDir: options.cacheDir,
    allowRemoteModels: !localFilesOnly,
  }
  if (remoteHost !== undefined) {
    settings.remoteHost = remoteHost.endsWith('/') ? remoteHost : `${remoteHost}/`
  }
  return await withSettings(env, settings, () =>
    pipeline('feature-extraction', options.modelId, {
      ...PRECISION,
      cache_dir: options.cacheDir,
      local_files_only: localFilesOnly,
      ...(options.revision === undefined ? {} : { revision: options.revision }),
    }),
  )
}

/**
 * Full precision is what the library calls the file without a suffix. A local variant such as
 * `model_quantized.onnx` is asked for by its file name, so that no suffix is added to it either.
 */
const PRECISION = { dtype: 'fp32', device: 'cpu' } as const satisfies PretrainedModelOptions

function localOptions({ onnxFile = 'onnx/model.onnx' }: LocalModel): PretrainedModelOptions {
  const folder = dirname(onnxFile)
  return {
    ...PRECISION,
    local_files_only: true,
    subfolder: folder === '.' ? '' : folder,
    model_file_name: basename(onnxFile, '.onnx'),
  }
}

type Settings = Pick<
  typeof import('@huggingface/transformers').env,
  'allowRemoteModels' | 'cacheDir' | 'remoteHost'
>

/**
 * Some of what `pipeline` does (4.3.1: which files does this model have?) looks at the global
 * settings alone, whatever its options say, so these are set for as long as it loads.
 */
async function withSettings<T>(
  env: Settings,
  settings: Partial<Settings>,
  fn: () => Promise<T>,
): Promise<T> {
  const { allowRemoteModels, cacheDir, remoteHost } = env
  Object.assign(env, settings)
  try {
    return await fn()
  } finally {
    Object.assign(env, { allowRemoteModels, cacheDir, remoteHost })
  }
}
