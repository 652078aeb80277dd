import type { Exemptions } from './exempt.ts'
import { PLAIN } from './plain-exempt.ts'

/** A way in, or several, and what they are known not to keep; a section of docs/semantics.md. */
export interface ExemptWay {
  title: string
  exempt: Exemptions
}

/** In the order of docs/semantics.md. */
export const EXEMPT_WAYS: readonly ExemptWay[] = [{ title: 'With no engine', exempt: PLAIN }]
