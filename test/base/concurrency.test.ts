import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { forEachConcurrently, KeyedLock, limitConcurrency } from '../../src/base/index.ts'

describe('KeyedLock', () => {
  it('runs functions of one key one after the other, in order', async () => {
    const lock = new KeyedLock()
    const events: string[] = []
    const job = (name: string) => async () => {
      events.push(`${name} begins`)
      await turn()
      events.push(`${name} ends`)
    }
    await Promise.all([lock.run('k', job('a')), lock.run('k', job('b')), lock.run('k', job('c'))])
    const expected = ['a', 'b', 'c'].flatMap((name) => [`${name} begins`, `${name} ends`])
    assert.deepEqual(events, expected)
    assert.equal(lock.size, 0)
  })

  it('lets other keys pass', async () => {
    const lock = new KeyedLock()
    const { promise, resolve } = Promise.withResolvers<void>()
    const held = lock.run('a', () => promise)
    assert.equal(await lock.run('b', () => 1), 1)
    resolve()
    await held
  })

  it('goes on after a failure', async () => {
    const lock = new KeyedLock()
    const failed = lock.run('k', () => Promise.reject(new Error('no')))
    const next = lock.run('k', () => 2)
    await assert.rejects(failed, /no/)
    assert.equal(await next, 2)
  })
})

describe('limitConcurrency', () => {
  it('never runs more than the limit, and all in the end', async () => {
    const run = limitConcurrency(3)
    let active = 0
    let most = 0
    const results = await Promise.all(
      [...Array(20).keys()].map((index) =>
        run(async () => {
          active += 1
          most = Math.max(most, active)
          await turn()
          active -= 1
          return index
        }),
      ),
    )
    assert.equal(most, 3)
    assert.deepEqual(results, [...Array(20).keys()])
  })

  it('frees the place of what failed', async () => {
    const run = limitConcurrency(1)
    await assert.rejects(run(() => Promise.reject(new Error('no'))))
    assert.equal(await run(() => 1), 1)
  })
})

describe('forEachConcurrently', () => {
  it('stops after a failure and waits for what had started', async () => {
    let active = 0
    let seen = 0
    const job = async (item: number) => {
      seen += 1
      active += 1
      await turn()
      active -= 1
      if (item === 5) {
        throw new Error('five')
      }
    }
    await assert.rejects(forEachConcurrently(Array(1000).keys(), 4, job), /five/)
    assert.equal(active, 0)
    assert.ok(seen < 20)
  })
})
