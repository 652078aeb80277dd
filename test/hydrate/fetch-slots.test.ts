import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FetchSlots } from '../../src/hydrate/fetch-slots.ts'

const never = new AbortController().signal
const nothing = () => undefined

describe('the room for requests', () => {
  test('is given in the order of asking', async () => {
    const slots = new FetchSlots(1, 1)
    const first = await slots.acquire(never, nothing)
    const order: number[] = []
    const waiting = [1, 2].map(async (number) => {
      const release = await slots.acquire(never, nothing)
      order.push(number)
      release()
    })
    assert.equal(slots.contended, true)
    first()
    first()
    await Promise.all(waiting)
    assert.deepEqual(order, [1, 2])
    assert.equal(slots.used, 0)
  })

  test('is never all taken by read-ahead', async () => {
    const slots = new FetchSlots(3, 2)
    assert.ok(slots.tryAcquireAhead())
    const second = slots.tryAcquireAhead()
    assert.equal(slots.tryAcquireAhead(), undefined)
    const release = await slots.acquire(never, nothing)
    second?.()
    assert.ok(slots.tryAcquireAhead())
    assert.equal(slots.tryAcquireAhead(), undefined)
    release()
    assert.equal(slots.tryAcquireAhead(), undefined, 'two read ahead already')
    assert.equal(slots.used, 2)
  })

  test('is not held by who gave up waiting, and who waits hears that it goes on', async () => {
    const slots = new FetchSlots(1, 1)
    const first = await slots.acquire(never, nothing)
    const stop = new AbortController()
    const given = slots.acquire(stop.signal, nothing)
    const second = slots.acquire(never, nothing)
    let moves = 0
    const third = slots.acquire(never, () => {
      moves += 1
    })
    stop.abort(new Error('enough'))
    await assert.rejects(given, /enough/)
    first()
    ;(await second)()
    ;(await third)()
    assert.equal(moves, 2, 'when the second went, and when its own turn came')
    assert.equal(slots.used, 0)
  })
})
