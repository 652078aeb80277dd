import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { FUSE_ENGINES, has, withMount } from '../support/index.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 64 * MIB
/** A safetensors file's header is small against this; the rest of it is what is counted. */
const LIMIT_BYTES = 8 * MIB

for (const engine of FUSE_ENGINES) {
  test(`${engine}: reading 1 MiB at the end of a 64 MiB model fetches less than 8 MiB`, async (t) => {
    if (!has(t, 'fuse')) return
    const model = pseudoRandom(SIZE_BYTES)
    const first = await withMount(t, { engine })
    await writeFile(join(first.mountpoint, 'model.safetensors'), model)
    const { root } = await first.commitAll()
    const { address } = await first.share()
    const second = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
    const path = join(second.mountpoint, 'model.safetensors')
    assert.equal((await stat(path)).size, SIZE_BYTES)
    assert.ok((await second.status()).hydrate.bytes < MIB, 'looking at it fetches nothing of it')

    const file = await open(path)
    t.after(() => file.close())
    const end = Buffer.alloc(MIB)
    const { bytesRead } = await file.read(end, 0, MIB, SIZE_BYTES - MIB)
    assert.equal(bytesRead, MIB)
    assert.ok(end.equals(model.subarray(SIZE_BYTES - MIB)))
    const fetched = (await second.status()).hydrate.bytes
    assert.ok(fetched >= MIB && fetched < LIMIT_BYTES, `fetched ${fetched} bytes`)

    const middle = Buffer.alloc(300_000)
    await file.read(middle, 0, middle.length, 30 * MIB + 12_345)
    assert.ok(middle.equals(model.subarray(30 * MIB + 12_345, 30 * MIB + 312_345)))
    assert.ok((await second.status()).hydrate.bytes < LIMIT_BYTES)
  })
}

/** Bytes that do not compress and do not repeat, the same in every run. */
function pseudoRandom(sizeBytes: number): Buffer {
  return createHash('shake256', { outputLength: sizeBytes }).update('modelcache').digest()
}
