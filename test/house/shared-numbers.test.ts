import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryRoot } from '../support/index.ts'

const read = (path: string) => readFileSync(join(repositoryRoot, path), 'utf8')

/** `| what | value unit | FILE NAME | FILE NAME |` of docs/protocol.md. */
const ROW = /^\| ([^|]+) \| (\d+)(?: \w+)? \| `([^`]+)` `([^`]+)` \| `([^`]+)` `([^`]+)` \|$/gm

/** The number that a constant of Rust or TypeScript is; durations in milliseconds. */
function constant(file: string, name: string): number {
  const [, body] = new RegExp(`const ${name}(?:: \\w+)? = ([^;\\n]+)`).exec(read(file)) ?? []
  assert.ok(body !== undefined, `${file}: no constant ${name}`)
  const [, unit, count] = /^Duration::from_(secs|millis)\((\d+)\)$/.exec(body) ?? []
  const factors = unit === undefined ? body.split('*') : [count, unit === 'secs' ? 1000 : 1]
  return factors.reduce<number>((product, one) => {
    const factor = Number(String(one).replaceAll('_', ''))
    assert.ok(Number.isFinite(factor), `${file}: ${name} is ${body}`)
    return product * factor
  }, 1)
}

describe('numbers that both engines share', () => {
  const rows = [...read('docs/protocol.md').matchAll(ROW)]

  it('are listed in docs/protocol.md', () => {
    assert.equal(rows.length, 6)
  })

  for (const [, what, value, rust = '', rustName = '', script = '', scriptName = ''] of rows) {
    it(`${what}: ${value}`, () => {
      assert.equal(constant(`native/src/${rust}`, rustName), Number(value))
      assert.equal(constant(`src/mount/portable/${script}`, scriptName), Number(value))
    })
  }
})
