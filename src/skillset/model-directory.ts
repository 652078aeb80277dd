import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno, ModelcacheError } from '../base/index.ts'

/** What a directory offers to somebody who wants to run the model in it. */
export interface ModelDirectory {
  /** The directory with the files; the snapshot's, where a whole repository of a cache was named. */
  directory: string
  /** The model, relative to `directory`: `onnx/model.onnx` or `model.onnx`, for example. */
  onnxFile: string
  /** True where a configuration and a tokenizer are there, so that text can go in. */
  hasTokenizer: boolean
}

/** Where exporters put models, in the order in which transformers.js would look. */
const FOLDERS = ['onnx', '']

/**
 * Finds the ONNX model in a directory as clients lay it out: a plain export, the cache of
 * transformers.js, a snapshot of huggingface_hub, or a whole `models--OWNER--NAME` of its cache,
 * of which `refs/main` names the snapshot.
 *
 * @throws ModelcacheError `model-not-found` when there is no directory or no model in it
 */
export async function findModel(path: string): Promise<ModelDirectory> {
  const top = await namesIn(path)
  if (top === undefined) {
    throw new ModelcacheError(`infer ${path}: no such directory`, {
      code: 'model-not-found',
      errno: 'ENOENT',
      exitCode: 1,
    })
  }
  const directory = top.includes('snapshots') ? await currentSnapshot(path) : path
  const names = directory === path ? top : ((await namesIn(directory)) ?? [])
  for (const folder of FOLDERS) {
    const models = folder === '' ? names : await namesIn(join(directory, folder))
    const name = chooseModel(models ?? [])
    if (name !== undefined) {
      const hasTokenizer = names.includes('config.json') && names.includes('tokenizer.json')
      return { directory, onnxFile: join(folder, name), hasTokenizer }
    }
  }
  throw new ModelcacheError(`infer ${path}: no .onnx file in it or in its onnx folder`, {
    code: 'model-not-found',
    errno: 'ENOENT',
    exitCode: 1,
  })
}

/** Full precision before the variants, and these in a fixed order. */
function chooseModel(names: readonly string[]): string | undefined {
  const models = names.filter((name) => name.endsWith('.onnx')).sort()
  return models.find((name) => name === 'model.onnx') ?? models[0]
}

async function currentSnapshot(repository: string): Promise<string> {
  const reference = join(repository, 'refs', 'main')
  try {
    const commit = (await readFile(reference, 'utf8')).trim()
    const snapshot = join(repository, 'snapshots', commit)
    await stat(snapshot)
    return snapshot
  } catch (cause) {
    throw new ModelcacheError(`infer ${repository}: ${reference} names no snapshot that is there`, {
      code: 'model-not-found',
      errno: 'ENOENT',
      exitCode: 1,
      cause,
    })
  }
}

/** The names in a directory, or undefined where there is none. */
async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}
