import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { delay, errnoOf, type Timer, withDeadline } from '../../src/base/index.ts'

/** A clock whose timers fire when the test says so. */
function manualClock() {
  const timers = new Set<() => void>()
  return {
    timers,
    fire: () => {
      for (const fn of timers) {
        fn()
      }
    },
    setTimeout(fn: () => void): Timer {
      timers.add(fn)
      return { cancel: () => timers.delete(fn) }
    },
  }
}

describe('withDeadline', () => {
  it('aborts with EIO when the time is over', () => {
    const clock = manualClock()
    const signal = withDeadline(new AbortController().signal, 5, clock)
    assert.ok(!signal.aborted)
    clock.fire()
    assert.ok(signal.aborted)
    assert.equal(errnoOf(signal.reason), 'EIO')
  })

  it('aborts with the reason of the outer signal and stops its timer', () => {
    const clock = manualClock()
    const outer = new AbortController()
    const signal = withDeadline(outer.signal, 5, clock)
    outer.abort('why')
    assert.equal(signal.reason, 'why')
    assert.equal(clock.timers.size, 0)
  })

  it('is aborted from the start when the outer signal is', () => {
    const clock = manualClock()
    assert.ok(withDeadline(AbortSignal.abort('why'), 5, clock).aborted)
    assert.equal(clock.timers.size, 0)
  })
})

describe('delay', () => {
  it('ends when the time is over', async () => {
    const clock = manualClock()
    const done = delay(5, undefined, clock)
    clock.fire()
    await done
  })

  it('rejects when it is aborted', async () => {
    const clock = manualClock()
    const controller = new AbortController()
    const done = delay(5, controller.signal, clock)
    controller.abort(new Error('stop'))
    await assert.rejects(done, /stop/)
    assert.equal(clock.timers.size, 0)
  })
})
