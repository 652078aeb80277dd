import type { Exemptions } from './exempt.ts'
import { PLAIN } from './plain-exempt.ts'
import { PORTABLE } from './portable-exempt.ts'
import { USER_EXEMPT } from './user-way.ts'

/** A way in, or several, and what they are known not to keep; a section of docs/semantics.md. */
export interface ExemptWay {
  title: string
  exempt: Exemptions
}

/** In the order of docs/semantics.md. */
export const EXEMPT_WAYS: readonly ExemptWay[] = [
  { title: 'The keeper of an ordinary user', exempt: USER_EXEMPT },
  { title: 'The portable engine', exempt: PORTABLE },
  { title: 'With no engine', exempt: PLAIN },
]
