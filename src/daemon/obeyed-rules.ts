import type { Notes } from '../tree/index.ts'
import type { CommitLog } from '../writeback/index.ts'

const NOTE = 'name-rules'

/**
 * Since which root the rules for names that are in force have been obeyed. A root from before a
 * pattern was added may hold what nobody must see any more: it is not served, and the next commit
 * lists the whole tree.
 */
export class ObeyedRules {
  readonly #notes: Notes
  readonly #digest: string
  #since: number | undefined

  private constructor(notes: Notes, digest: string, since: number | undefined) {
    this.#notes = notes
    this.#digest = digest
    this.#since = since
  }

  /**
   * @param digest - of the rules that are in force
   * @param log - a store without a root has nothing that could break them
   */
  static async open(
    notes: Notes,
    digest: string,
    log: Pick<CommitLog, 'current'>,
  ): Promise<ObeyedRules> {
    const [known, since] = ((await notes.get(NOTE)) ?? '').split(' ')
    if (known === digest && since !== undefined && /^\d+$/.test(since)) {
      return new ObeyedRules(notes, digest, Number(since))
    }
    const rules = new ObeyedRules(notes, digest, undefined)
    if (log.current() === undefined) {
      await rules.checked(0)
    }
    return rules
  }

  /** The sequence number of the first root that obeys them; undefined while there is none. */
  get since(): number | undefined {
    return this.#since
  }

  /** The root of this sequence number was made of the whole tree. */
  async checked(sequence: number): Promise<void> {
    if (this.#since === undefined) {
      await this.#notes.put(NOTE, `${this.#digest} ${sequence}`)
      this.#since = sequence
    }
  }
}
