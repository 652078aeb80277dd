import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import {
  type Change,
  connectKeeper,
  type EngineHandlers,
  encodeFrame,
  FrameDecoder,
  MAX_FRAME_BYTES,
  type Message,
} from '../../src/mount/index.ts'

const HELLO = {
  t: 'hello',
  version: 1,
  keeperPid: 42,
  mountpoint: '/m',
  store: '/s',
  readOnly: false,
  clean: true,
  restarts: 0,
  config: { any: 'thing' },
  passthrough: { active: true, reason: '' },
}

/** The other end of a client's socket. */
function peer() {
  const [ours, theirs] = duplexPair()
  const received: Message[] = []
  const waiting: ((message: Message) => void)[] = []
  const decoder = new FrameDecoder()
  ours.on('data', (chunk: Uint8Array) =>
    decoder.push(chunk, (message) => {
      received.push(message)
      waiting.shift()?.(message)
    }),
  )
  const next = () => new Promise<Message>((resolve) => waiting.push(resolve))
  const send = (...messages: Message[]) => ours.write(Buffer.concat(messages.map(encodeFrame)))
  return { theirs, send, next, received, end: () => ours.end() }
}

function handlers(fields: Partial<EngineHandlers> = {}): EngineHandlers {
  const unexpected = async (): Promise<never> => {
    throw new Error('unexpected')
  }
  return {
    list: unexpected,
    fill: unexpected,
    detach: unexpected,
    cid: unexpected,
    changed: () => {},
    broken: () => {},
    drain: () => {},
    ...fields,
  }
}

test('frames come whole, however the bytes are cut', () => {
  const messages: Message[] = [{ t: 'a' }, { t: 'ü', n: '1' }, { t: 'c', list: [1, null] }]
  const bytes = Buffer.concat(messages.map(encodeFrame))
  for (const size of [1, 2, 3, 5, 7, bytes.length]) {
    const found: Message[] = []
    const decoder = new FrameDecoder()
    for (let start = 0; start < bytes.length; start += size) {
      decoder.push(bytes.subarray(start, start + size), (message) => found.push(message))
    }
    assert.deepEqual(found, messages)
  }
})

test('frames of another length, or of no JSON object, are refused', () => {
  const refused = (bytes: Uint8Array) =>
    assert.throws(() => new FrameDecoder().push(bytes, () => {}), { code: 'protocol' })
  refused(Buffer.from([0, 0, 0, 0]))
  refused(Buffer.from([1, 0, 0, 1]))
  refused(Buffer.from([1, 0, 0, 0, 0x7b]))
  refused(Buffer.from([2, 0, 0, 0, 0x5b, 0x5d]))
  assert.throws(() => encodeFrame({ t: 'x'.repeat(MAX_FRAME_BYTES) }), { code: 'protocol' })
})

test('hello is read and what follows waits for the handlers', async () => {
  const { theirs, send } = peer()
  send(HELLO, { t: 'changed', items: [{ k: 'dirty', ino: '18446744073709551615', btime: '7' }] })
  const { hello, keeper } = await connectKeeper(theirs)
  assert.equal(hello.keeperPid, 42)
  assert.deepEqual(hello.config, { any: 'thing' })
  const changes: Change[] = []
  keeper.on(handlers({ changed: (items) => changes.push(...items) }))
  assert.deepEqual(changes, [{ kind: 'dirty', id: { ino: 18446744073709551615n, btimeNs: 7n } }])
})

test('a keeper of another version is refused', async () => {
  const { theirs, send } = peer()
  send({ ...HELLO, version: 2 })
  await assert.rejects(connectKeeper(theirs), { code: 'protocol', message: /version 2/ })
})

test('answers keep their place among the events around them', async () => {
  const { theirs, send, next } = peer()
  send(HELLO)
  const { keeper } = await connectKeeper(theirs)
  const order: [string, number][] = []
  keeper.on(
    handlers({ changed: (items, sequence) => order.push([items[0]?.kind ?? '', sequence]) }),
  )
  const asked = next()
  const answer = keeper.lease('a', { ino: 1n, btimeNs: 1n })
  const { id } = await asked
  const stamp = { size: '1', mtime: '2', ctime: '3' }
  const gone = { t: 'changed', items: [{ k: 'gone', ino: '1', btime: '1' }] }
  const dirty = { t: 'changed', items: [{ k: 'dirty', ino: '1', btime: '1' }] }
  send(gone, { t: 're', id, ok: { lease: 1, fd: 5, stamp } }, dirty)
  const { sequence, stamp: got } = await answer
  assert.deepEqual(got, { sizeBytes: 1, mtimeNs: 2n, ctimeNs: 3n })
  assert.deepEqual(
    order.map(([kind, at]) => [kind, Math.sign(at - sequence)]),
    [
      ['gone', -1],
      ['dirty', 1],
    ],
  )
})

test('requests of the keeper are answered with what the handler gives or its errno', async () => {
  const { theirs, send, next } = peer()
  send(HELLO)
  const { keeper } = await connectKeeper(theirs)
  keeper.on(
    handlers({
      fill: async ({ path, id, at }, offset, lengthBytes) => {
        assert.deepEqual([path, id.ino, offset, lengthBytes], ['a/b', 3n, 2 ** 40, 5])
        assert.equal(at, '/proc/42/fd/77')
        return { complete: true }
      },
      detach: async () => {
        throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
      },
    }),
  )
  const filled = next()
  const offset = (2n ** 40n).toString()
  send({ t: 'fill', id: 9, path: 'a/b', ino: '3', btime: '4', fd: 77, offset, length: '5' })
  assert.deepEqual(await filled, { t: 're', id: 9, ok: { complete: true } })
  const failed = next()
  send({ t: 'detach', id: 10, ino: '3', btime: '4' })
  assert.deepEqual(await failed, {
    t: 're',
    id: 10,
    err: { errno: 'ENOSPC', message: 'no room' },
  })
})

test('a snapshot puts the parts of a directory together and takes names that are no UTF-8', async () => {
  const { theirs, send, next } = peer()
  send(HELLO)
  const { keeper } = await connectKeeper(theirs)
  keeper.on(handlers())
  const asked = next()
  const answer = keeper.snapshot(true)
  const { id } = await asked
  const entry = (name: unknown, type: string, extra: unknown) => [
    name,
    type,
    '5',
    '6',
    0o644,
    '7',
    '8',
    '9',
    extra,
  ]
  const part = { t: 'part', id, path: 'd', ino: '1', btime: '2', mode: 0o755, mtime: '-3' }
  send(
    { ...part, explicit: true, entries: [entry('a', 'f', null)], more: true },
    { ...part, explicit: true, entries: [entry({ b64: '/w==' }, 'l', 'to')], more: false },
    { t: 're', id, ok: { snapshot: 4 } },
  )
  const { number, directories } = await answer
  assert.equal(number, 4)
  assert.equal(directories.length, 1)
  const [directory] = directories
  assert.equal(directory?.mtimeNs, -3n)
  assert.deepEqual(
    directory?.entries.map(({ name, type, target }) => [name, type, target]),
    [
      ['a', 'f', undefined],
      [new Uint8Array([255]), 'l', 'to'],
    ],
  )
})

test('a record that is damaged costs its name and not the connection', async () => {
  const { theirs, send, next } = peer()
  send(HELLO)
  const { keeper } = await connectKeeper(theirs)
  keeper.on(handlers())
  const asked = next()
  const answer = keeper.snapshot(false)
  const { id } = await asked
  const entries = [['a', 'f', '5', '6', 0o644, '7', '8', '9', 'AAAA']]
  send(
    {
      t: 'part',
      id,
      path: '',
      ino: '1',
      btime: '2',
      mode: 0,
      mtime: '0',
      explicit: false,
      entries,
      more: false,
    },
    { t: 're', id, ok: { snapshot: 1 } },
  )
  const [entry] = (await answer).directories[0]?.entries ?? []
  assert.equal(entry?.record, undefined)
  assert.match(entry?.damage ?? '', /version 0/)
})

test('when the keeper goes every request fails and the end is told once', async () => {
  const { theirs, send, end } = peer()
  send(HELLO)
  const { keeper } = await connectKeeper(theirs)
  keeper.on(handlers())
  const lease = keeper.lease('a', { ino: 1n, btimeNs: 2n })
  end()
  await assert.rejects(lease, { code: 'keeper-gone', errno: 'EIO' })
  assert.equal(await keeper.ended, undefined)
  await assert.rejects(keeper.stats(), { code: 'keeper-gone' })
})

test('what version 1 has not ends the connection with the reason', async () => {
  const bad: Message[] = [
    { t: 'dance' },
    { t: 'changed', items: [{ k: 'dance', ino: '1', btime: '1' }] },
    { t: 'changed', items: [{ k: 'dirty', ino: '-x', btime: '1' }] },
    { t: 're', id: 99, ok: {} },
    {
      t: 'part',
      id: 7,
      path: '',
      ino: '1',
      btime: '1',
      mode: 0,
      mtime: '0',
      explicit: false,
      entries: [],
      more: false,
    },
  ]
  for (const message of bad) {
    const { theirs, send } = peer()
    send(HELLO)
    const { keeper } = await connectKeeper(theirs)
    keeper.on(handlers())
    send(message)
    const error = await keeper.ended
    assert.equal(
      (error as { code?: string } | undefined)?.code,
      'protocol',
      JSON.stringify(message),
    )
  }
})
