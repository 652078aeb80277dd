import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FUSE_ENGINES, has } from '../support/index.ts'
import { type Client, readElsewhere, usedAsOnDisk } from './oracle.ts'

const GGUF: Client = { program: 'use_gguf.py' }
const ONNX: Client = { program: 'use_onnx.py' }
/** OpenVINO names what it compiled by the model's path and mtime, and writes the name into it. */
const OPENVINO: Client = {
  program: 'use_openvino.py',
  varying: /^cache\/N\.blob$/,
  rename: (path) => path.replace(/^cache\/\d+\.blob$/, 'cache/N.blob'),
}

for (const engine of FUSE_ENGINES) {
  test(`${engine}: llama.cpp runs a GGUF mapped, locked, read and with O_DIRECT, also in shards`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read, mount } = await usedAsOnDisk(t, engine, GGUF)
    assert.notEqual(wrote.changed, wrote.first, 'the tensor was changed in place')
    const said = new Set(Object.values(read.said as Record<string, string>))
    assert.equal(said.size, 1, 'every way of loading computes the same')
    assert.deepEqual(await readElsewhere(t, engine, GGUF, mount), read)
  })

  test(`${engine}: onnxruntime maps external data, also through the links of a snapshot`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read, mount } = await usedAsOnDisk(t, engine, ONNX)
    assert.equal(new Set(Object.values(wrote)).size, 1, 'one model, one result')
    assert.equal(read.linked, wrote.linked)
    assert.deepEqual(await readElsewhere(t, engine, ONNX, mount), read)
  })

  test(`${engine}: OpenVINO compiles once and then takes it from its cache, also after a new mount`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read, mount } = await usedAsOnDisk(t, engine, OPENVINO)
    assert.deepEqual(fromCache(wrote, 'first', 'second'), [false, true])
    assert.deepEqual(wrote.modes, ['0o440'], 'it takes the right to write from what it compiled')
    assert.deepEqual(fromCache(read, 'mapped', 'copied'), [true, true])
    assert.equal(read.same, true)
    const { root } = await mount.commitAll()
    assert.equal((await mount.status()).root.cid, root)
  })
}

function fromCache(answer: Record<string, unknown>, ...names: string[]): boolean[] {
  return names.map((name) => (answer[name] as { from_cache: boolean }).from_cache)
}
