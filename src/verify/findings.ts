/** What can be wrong. docs/operations.md says what each means. */
export type FindingKind =
  | 'damaged-node'
  | 'missing-node'
  | 'rotten-file'
  | 'missing-file'
  | 'lost-object'
  | 'lost-leaves'
  | 'rotten-placeholder'
  | 'damaged-record'
  | 'local-only-name'

/** One thing that was not as it must be. */
export interface Finding {
  kind: FindingKind
  /** Where it shows: a path in the mount, or the file of the store. */
  path: string
  cid?: string | undefined
  what: string
  /** It is as it must be now. */
  healed: boolean
}

/** How far it has come, and what was looked at. */
export interface VerifyCounts {
  nodes: number
  files: number
  bytes: number
  placeholders: number
  roots: number
}

/** An answer has to fit a screen and a line. */
const MAX_FINDINGS = 1000

/** Everything that was found, and told as it is found. */
export class Findings {
  readonly counts: VerifyCounts = { nodes: 0, files: 0, bytes: 0, placeholders: 0, roots: 0 }
  readonly #list: Finding[] = []
  readonly #told: (finding: Finding) => void
  #total = 0
  #broken = 0

  constructor(told: (finding: Finding) => void) {
    this.#told = told
  }

  add(finding: Finding): void {
    this.#total += 1
    this.#broken += finding.healed ? 0 : 1
    if (this.#list.length < MAX_FINDINGS) {
      this.#list.push(finding)
    }
    this.#told(finding)
  }

  get list(): readonly Finding[] {
    return this.#list
  }

  /** All of them, also those that the list has no room for. */
  get total(): number {
    return this.#total
  }

  /** Those that could not be healed. */
  get broken(): number {
    return this.#broken
  }
}
