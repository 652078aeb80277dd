import assert from 'node:assert/strict'
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { embed, infer } from '../../src/skillset/index.ts'
import { bytes, FLOAT, floatTensor, model, node, tensorValue } from './onnx-encoding.ts'
import { writeTinyModel } from './tiny-model.ts'

const TEXTS = ['the same model on two machines', 'a vector for each file', 'the same model']

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modelcache-infer-'))
})
afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

describe('infer', () => {
  it('turns texts into vectors of length one', async () => {
    await writeTinyModel(directory)
    const result = await infer({ modelDir: directory, texts: TEXTS })
    assert.equal(result.runtime, 'transformers')
    assert.equal(result.dimensions, 32)
    assert.equal(result.vectors.length, TEXTS.length)
    for (const vector of result.vectors) {
      assert.equal(vector.length, 32)
      assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5)
    }
    assert.notDeepEqual(result.vectors[0], result.vectors[1])
  })

  it('gives the same vectors from weights in the model and beside it', async () => {
    const inline = join(directory, 'inline')
    const external = join(directory, 'external')
    await writeTinyModel(inline, { rows: 1024 })
    const files = await writeTinyModel(external, { rows: 1024, externalData: true })
    assert.equal(files.get('onnx/model.onnx_data'), 1024 * 32 * 4)
    const [first, second] = [
      await infer({ modelDir: inline, texts: TEXTS }),
      await infer({ modelDir: external, texts: TEXTS }),
    ]
    assert.deepEqual(second.vectors, first.vectors)
  })

  it('runs a sample text where none is given', async () => {
    await writeTinyModel(directory)
    const result = await infer({ modelDir: directory })
    assert.equal(result.vectors.length, 1)
  })

  it('finds a variant by its file name, and a model beside its configuration', async () => {
    await writeTinyModel(directory)
    await mkdir(join(directory, 'flat'))
    for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
      await copyFile(join(directory, name), join(directory, 'flat', name))
    }
    await copyFile(
      join(directory, 'onnx/model.onnx'),
      join(directory, 'flat', 'model_quantized.onnx'),
    )
    const flat = await infer({ modelDir: join(directory, 'flat'), texts: TEXTS })
    const nested = await infer({ modelDir: directory, texts: TEXTS })
    assert.deepEqual(flat.vectors, nested.vectors)
  })

  it('follows refs/main and the links of a repository in a huggingface_hub cache', async () => {
    const plain = join(directory, 'plain')
    const repository = join(directory, 'models--tiny--bert')
    const files = await writeTinyModel(plain)
    const commit = '0123456789abcdef0123456789abcdef01234567'
    const snapshot = join(repository, 'snapshots', commit)
    await mkdir(join(repository, 'blobs'), { recursive: true })
    await mkdir(join(repository, 'refs'))
    await mkdir(join(snapshot, 'onnx'), { recursive: true })
    await writeFile(join(repository, 'refs', 'main'), commit)
    for (const [index, path] of [...files.keys()].entries()) {
      const up = path.includes('/') ? '../../../' : '../../'
      await copyFile(join(plain, path), join(repository, 'blobs', String(index)))
      await symlink(`${up}blobs/${index}`, join(snapshot, path))
    }
    const cached = await infer({ modelDir: repository, texts: TEXTS })
    assert.deepEqual(cached.vectors, (await infer({ modelDir: plain, texts: TEXTS })).vectors)
  })

  it('runs a model without a tokenizer on ones', async () => {
    await writeFile(join(directory, 'model.onnx'), scaleModel())
    const result = await infer({ modelDir: directory })
    assert.equal(result.runtime, 'onnxruntime')
    assert.deepEqual(result.vectors, [[3, 5]])
    await assert.rejects(infer({ modelDir: directory, texts: ['a'] }), {
      code: 'usage',
      exitCode: 2,
      message: /tokenizer\.json/,
    })
  })

  it('names the directory that is not there or has no model', async () => {
    const missing = join(directory, 'missing')
    await assert.rejects(infer({ modelDir: missing }), { code: 'model-not-found', exitCode: 1 })
    await assert.rejects(infer({ modelDir: directory }), /no \.onnx file/)
  })

  it('says what is wrong with a model that is none', async () => {
    await writeFile(join(directory, 'model.onnx'), 'this is no model')
    await assert.rejects(infer({ modelDir: directory }), { code: 'inference-failed' })
  })

  it('refuses to embed nothing', async () => {
    await assert.rejects(embed({ modelDir: directory, texts: [] }), { code: 'usage', exitCode: 2 })
  })
})

/** Y = X * [3, 5] for X of two floats. */
function scaleModel(): Uint8Array {
  const factors = new Uint8Array(Float32Array.of(3, 5).buffer)
  return model([
    node(1, 'Mul', ['X', 'factors'], ['Y']),
    bytes(2, 'scale'),
    floatTensor(5, 'factors', [2], { kind: 'inline', bytes: factors }),
    tensorValue(11, 'X', FLOAT, ['batch', 2]),
    tensorValue(12, 'Y', FLOAT, ['batch', 2]),
  ])
}
