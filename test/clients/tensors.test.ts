import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FUSE_ENGINES, has } from '../support/index.ts'
import { type Client, readElsewhere, usedAsOnDisk } from './oracle.ts'

const SAFETENSORS: Client = { program: 'use_safetensors.py' }
/** torch's old format names storages by their addresses in memory. */
const TORCH: Client = { program: 'use_torch_files.py', varying: /^legacy\.bin$/ }

for (const engine of FUSE_ENGINES) {
  test(`${engine}: safetensors saves over what is there and mapped, and loads with both backends`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { wrote, read, mount } = await usedAsOnDisk(t, engine, SAFETENSORS)
    assert.deepEqual(wrote.names, ['numpy.safetensors', 'torch.safetensors'], 'no temporary file')
    assert.deepEqual(await readElsewhere(t, engine, SAFETENSORS, mount), read)
  })

  test(`${engine}: torch saves, maps and saves in place; torch.hub finds its checkpoints and sources`, async (t) => {
    if (!has(t, 'fuse', 'python', 'cc')) return
    const { read, mount } = await usedAsOnDisk(t, engine, TORCH)
    assert.deepEqual(await readElsewhere(t, engine, TORCH, mount), read)
  })
}
