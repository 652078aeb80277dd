import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type { RowResult } from './rows.ts'

/** A fact of a row: its name (with `#2` and so on where a row notes a name again) and its value. */
type Fact = readonly [name: string, value: unknown]

/**
 * What a way in cannot keep of one row, and what it answers instead. The answer is asserted as
 * well: facts that are not named here are those of the plain directory, and an exemption that is
 * no longer needed fails as one that is not enough does.
 */
export interface Exempt {
  /** Why it cannot be kept: docs/semantics.md says it. */
  reason: string
  /** What a program gets instead: docs/semantics.md says it. */
  answer: string
  /** The facts that differ; or, for many of one kind, what each becomes. */
  facts?: Record<string, unknown> | ((name: string, plain: unknown) => unknown)
  /** How the claims begin that do not hold. */
  broken?: readonly string[]
  /** How the last line of the failure begins, of a row that does not come to its end. */
  ends?: string
}

/** What a way in is exempt from. */
export interface Exemptions {
  /** By the names of the rows. */
  rows: Readonly<Record<string, Exempt>>
  /** `st_nlink` of a file counts our own link as well, in every row: why, and what it means. */
  countsOurLinks?: Pick<Exempt, 'reason' | 'answer'>
}

/** Facts that agree except where `exempt` says what is answered. */
export function assertFacts(
  oracle: RowResult,
  result: RowResult,
  exempt?: Exempt,
  countsOurLinks = false,
): void {
  const plain = new Map(numbered(oracle.facts))
  const expected = new Map(
    [...plain].map(([name, value]) => [name, expectedOf(name, value, exempt)]),
  )
  const found = new Map(numbered(result.facts))
  const differences: string[] = []
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    // A row that ends early has noted nothing of the rest.
    if (!found.has(name) && exempt?.ends !== undefined) continue
    if (agree(expected.get(name), found.get(name), countsOurLinks)) continue
    const wanted = isDeepStrictEqual(expected.get(name), plain.get(name)) ? 'plain' : 'known'
    differences.push(
      `  ${name}\n    ${wanted}: ${shown(expected.get(name))}\n    here:  ${shown(found.get(name))}`,
    )
  }
  assert.equal(differences.length, 0, `\n${differences.slice(0, 30).join('\n')}`)
  if (typeof exempt?.facts === 'object') {
    const same = Object.entries(exempt.facts).filter(
      ([name, value]) => !plain.has(name) || isDeepStrictEqual(plain.get(name), value),
    )
    assert.deepEqual(same, [], 'named as different from a plain directory')
  }
}

/** Equal; with `countsOurLinks` a link count may be one more than that of a plain directory. */
function agree(expected: unknown, found: unknown, countsOurLinks: boolean): boolean {
  if (!countsOurLinks || typeof expected !== 'object' || expected === null) {
    return isDeepStrictEqual(expected, found)
  }
  if (typeof found !== 'object' || found === null) return false
  const [wanted, got] = [new Map(Object.entries(expected)), new Map(Object.entries(found))]
  return (
    wanted.size === got.size &&
    [...wanted].every(([key, value]) => {
      const other = got.get(key)
      if (key === 'nlink' && other === Number(value) + 1) return true
      return agree(value, other, countsOurLinks)
    })
  )
}

function expectedOf(name: string, plain: unknown, exempt: Exempt | undefined): unknown {
  const facts = exempt?.facts
  if (facts === undefined) return plain
  if (typeof facts === 'function') return facts(name, plain)
  return name in facts ? facts[name] : plain
}

/** It came to its end, and what it claims holds; or it ended and failed exactly as is known. */
export function assertSound(result: RowResult, where = '', exempt?: Exempt): void {
  const { failure, claims } = result
  if (exempt?.ends === undefined) {
    assert.equal(failure, null, `${where}${failure}`)
  } else {
    const last = failure?.trimEnd().split('\n').at(-1) ?? 'it came to its end'
    assert.ok(last.startsWith(exempt.ends), `${where}known to end with ${exempt.ends}: ${failure}`)
  }
  const known = exempt?.broken ?? []
  const isKnown = (claim: string) => known.some((start) => claim.startsWith(start))
  const broken = claims.filter(([, holds]) => !holds).map(([claim]) => claim)
  assert.deepEqual(
    broken.filter((claim) => !isKnown(claim)),
    [],
    `${where}not held`,
  )
  assert.deepEqual(
    known.filter((start) => !broken.some((claim) => claim.startsWith(start))),
    [],
    `${where}held, against what is known`,
  )
}

function numbered(facts: readonly Fact[]): Fact[] {
  const seen = new Map<string, number>()
  return facts.map(([name, value]) => {
    const count = (seen.get(name) ?? 0) + 1
    seen.set(name, count)
    return [count === 1 ? name : `${name} #${count}`, value]
  })
}

/** In one line, without what is too long to read. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 2000 ? `${text.slice(0, 2000)}… (${text.length} characters)` : text
}
