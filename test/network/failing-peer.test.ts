import assert from 'node:assert/strict'
import {
  appendFile,
  chmod,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { has, waitFor, withMount } from '../support/index.ts'
import { content, MIB } from './content.ts'
import { from, relayedPair, sharedOrigin } from './pair.ts'
import { tcpRelay } from './tcp-relay.ts'

/** Long enough to load what fetches on a busy machine. */
const DEADLINE_S = 4
const SIZE_BYTES = 24 * MIB
const MODEL = content(SIZE_BYTES, 'the model')

async function fill(directory: string): Promise<void> {
  for (const name of ['model.bin', 'second.bin', 'third.bin'])
    await writeFile(join(directory, name), MODEL)
  await writeFile(join(directory, 'small.json'), '{"small": true}\n')
  for (const name of ['far', 'other']) {
    await mkdir(join(directory, name))
    await writeFile(join(directory, name, 'inside'), `${name}\n`)
  }
}

/** Reads a range; the caller compares. */
async function readRange(file: FileHandle, start: number, sizeBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(sizeBytes)
  const { bytesRead } = await file.read(bytes, 0, sizeBytes, start)
  return bytes.subarray(0, bytesRead)
}

function isRight(start: number, bytes: Buffer): boolean {
  return bytes.equals(MODEL.subarray(start, start + bytes.length))
}

/** Nothing that a program does may depend on how far the fetch has come. */
async function writesGoOn(mountpoint: string, name: string): Promise<void> {
  const at = (path: string) => join(mountpoint, path)
  await mkdir(at(name))
  await writeFile(at(`${name}/new`), 'written while the peer is gone\n')
  await appendFile(at(`${name}/new`), 'and appended\n')
  await rename(at(`${name}/new`), at(`${name}/renamed`))
  await appendFile(at('small.json'), `${name}\n`)
  await chmod(at('second.bin'), 0o600)
  assert.equal(
    await readFile(at(`${name}/renamed`), 'utf8'),
    'written while the peer is gone\nand appended\n',
  )
}

for (const trouble of ['cut', 'stall', 'lie'] as const) {
  test(`a peer that fails in the middle (${trouble}): what is here goes on`, async (t) => {
    if (!has(t, 'fuse')) return
    const { second, relay } = await relayedPair(t, fill, DEADLINE_S)
    const at = (path: string) => join(second.mountpoint, path)
    await readFile(at('small.json'))
    const model = await open(at('model.bin'))
    t.after(() => model.close())
    assert.ok(isRight(0, await readRange(model, 0, MIB)))
    const far = 20 * MIB

    relay.behave(trouble)
    // All at once: each of them waits for the whole deadline.
    const needing: Record<string, Promise<unknown>> = {
      'a read of what is missing': readRange(model, far, MIB),
      'an append to a file that has to be fetched first': appendFile(at('second.bin'), 'x'),
      'a truncation to what has to be fetched first': truncate(at('third.bin'), far),
      ...(trouble === 'lie'
        ? {}
        : { 'the listing of a directory that was never seen': readdir(at('far')) }),
    }
    for (const doing of Object.values(needing)) doing.catch(() => undefined)
    for (const [what, doing] of Object.entries(needing)) {
      await t.test(`${what} fails with EIO`, () => assert.rejects(doing, { code: 'EIO' }))
    }
    await t.test('and changed nothing', async () => {
      assert.equal((await stat(at('second.bin'))).size, SIZE_BYTES)
      assert.equal((await stat(at('third.bin'))).size, SIZE_BYTES)
      assert.ok((await stat(at('far'))).isDirectory())
      if (trouble === 'lie') assert.ok(relay.lies > 0)
      assert.ok((await second.status()).hydrate.errors > 0)
    })
    await t.test('reads of what is present, and all writes, go on', async () => {
      assert.ok(isRight(0, await readRange(model, 0, MIB)))
      await writesGoOn(second.mountpoint, `while-${trouble}`)
      const { dirty, open } = await second.commitAll()
      assert.deepEqual([dirty, open], [0, []])
    })

    const waiting = readRange(model, far, MIB)
    relay.behave('pass')
    await t.test('a read that waits when the peer comes back gets its bytes', async () => {
      assert.ok(isRight(far, await waiting))
    })
    await t.test('and everything works again', async () => {
      assert.ok((await readFile(at('model.bin'))).equals(MODEL))
      await appendFile(at('second.bin'), 'the end')
      assert.ok(
        Buffer.concat([MODEL, Buffer.from('the end')]).equals(await readFile(at('second.bin'))),
      )
      assert.equal(await readFile(at('far/inside'), 'utf8'), 'far\n')
      await truncate(at('third.bin'), far)
      assert.ok((await readFile(at('third.bin'))).equals(MODEL.subarray(0, far)))
      await writeFile(at('far/new'), 'x')
      assert.equal((await second.commitAll()).dirty, 0)
    })
  })
}

for (const trouble of ['cut', 'stall', 'lie'] as const) {
  test(`a read goes on after a moment of trouble (${trouble})`, async (t) => {
    if (!has(t, 'fuse')) return
    const { second, relay } = await relayedPair(t, fill, 30)
    relay.behaveAfter(3 * MIB, trouble)
    const reading = readFile(join(second.mountpoint, 'model.bin'))
    await waitFor('the moment of trouble', () => relay.behaviour === trouble)
    if (trouble === 'cut') await waitFor('another try', () => relay.disturbed > 0)
    if (trouble === 'lie') await waitFor('a lie', () => relay.lies > 0)
    relay.behave('pass')
    assert.ok((await reading).equals(MODEL))
    assert.equal((await second.status()).hydrate.errors, 0)
  })
}

test('with another peer, nobody notices that one is cut in the middle', async (t) => {
  if (!has(t, 'fuse')) return
  const origin = await sharedOrigin(t, fill)
  const [one, other] = [await tcpRelay(t, origin.address), await tcpRelay(t, origin.address)]
  const words = [...from(origin, one.address), '--peer', other.address]
  const second = await withMount(t, { args: words })
  for (const relay of [one, other]) relay.behaveAfter(4 * MIB, 'cut')
  const reading = readFile(join(second.mountpoint, 'model.bin'))
  const cut = await waitFor('one of them to be cut', () => {
    return [one, other].find((relay) => relay.behaviour === 'cut')
  })
  const left = cut === one ? other : one
  left.behave('pass')
  assert.ok((await reading).equals(MODEL))
  assert.equal((await second.status()).hydrate.errors, 0)
  assert.ok(left.passedBytes > MIB)
})
