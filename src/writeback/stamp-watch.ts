import { type InodeId, inodeKey, type Stamp, sameStamp } from '../tree/index.ts'

/**
 * Remembers, while a commit runs, which stamps of a row were replaced without a change of the
 * content (chmod, rename, our own link). A listing shows one moment: the row may have moved on
 * before the commit looks at it, and is the same content all the same.
 */
export class StampWatch {
  readonly #replaced = new Map<string, Stamp[]>()
  #watchers = 0

  /** Starts to remember; the commit calls `end` when it has looked at everything. */
  begin(): { end(): void } {
    this.#watchers += 1
    let ended = false
    return {
      end: () => {
        if (!ended) {
          ended = true
          this.#watchers -= 1
          if (this.#watchers === 0) {
            this.#replaced.clear()
          }
        }
      },
    }
  }

  /** The row's stamp was renewed from `old`, with the content unchanged. */
  replaced(id: InodeId, old: Stamp): void {
    if (this.#watchers > 0) {
      const key = inodeKey(id)
      this.#replaced.set(key, [...(this.#replaced.get(key) ?? []), old])
    }
  }

  /** The content may change from here on: no earlier stamp says anything about a later row. */
  forget(id: InodeId): void {
    this.#replaced.delete(inodeKey(id))
  }

  /** True when a row with this stamp describes the content that a listing showed as `listed`. */
  describes(id: InodeId, row: Stamp, listed: Stamp): boolean {
    if (sameStamp(row, listed)) {
      return true
    }
    return (this.#replaced.get(inodeKey(id)) ?? []).some((old) => sameStamp(old, listed))
  }
}
