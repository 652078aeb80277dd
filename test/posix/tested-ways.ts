import type { WayIn } from './contract.ts'
import { PLAIN } from './plain-exempt.ts'
import { PORTABLE } from './portable-exempt.ts'
import { USER_WAYS } from './user-way.ts'
import { committed, fetched, fresh, readOnly, remote, served } from './ways.ts'

/** A way in, the states in which it runs over the table, and the test that does so. */
export interface TestedWay {
  title: string
  file: string
  states: readonly WayIn[]
  /** Only in the long run. */
  longStates: readonly WayIn[]
}

export const NATIVE_WAY: TestedWay = {
  title: 'the keeper, as root',
  file: 'native.test.ts',
  states: [fresh('native'), served, committed('native'), remote('native'), readOnly('native')],
  longStates: [],
}

export const USER_WAY: TestedWay = {
  title: 'the keeper of an ordinary user',
  file: 'native-user.test.ts',
  states: USER_WAYS,
  longStates: [],
}

export const PORTABLE_WAY: TestedWay = {
  title: 'the portable engine, as root',
  file: 'portable.test.ts',
  states: [
    fresh('fuse-native', PORTABLE),
    committed('fuse-native', PORTABLE),
    remote('fuse-native', PORTABLE),
    readOnly('fuse-native', PORTABLE),
  ],
  longStates: [],
}

export const PLAIN_WAY: TestedWay = {
  title: 'no engine, as root',
  file: 'none.test.ts',
  states: [fresh('none', PLAIN), committed('none', PLAIN)],
  // A fetched tree is a committed one that came another way.
  longStates: [fetched('none', PLAIN)],
}

/** In the order of docs/semantics.md. */
export const TESTED_WAYS: readonly TestedWay[] = [NATIVE_WAY, USER_WAY, PORTABLE_WAY, PLAIN_WAY]

/** The states that this run asks for. */
export function statesOf({ states, longStates }: TestedWay): WayIn[] {
  return process.env.MODELCACHE_TEST_LONG === '1' ? [...states, ...longStates] : [...states]
}
