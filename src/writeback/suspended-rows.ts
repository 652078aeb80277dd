import { type FileRow, type InodeId, inodeKey } from '../tree/index.ts'

/** Some 400 bytes each; past it the oldest file is hashed again. */
const MAX_SUSPENDED = 16_384

/**
 * Rows of files that were opened for writing. Programs open what they do not change (a second
 * handle, a lock), so when nothing was written the row comes back unhashed. Memory only: after a
 * power cut a stamp alone proves nothing.
 */
export class SuspendedRows {
  readonly #rows = new Map<string, FileRow>()

  /** Keeps the row of a file that may change from now on. */
  suspend(id: InodeId, row: FileRow): void {
    const key = inodeKey(id)
    this.#rows.delete(key)
    this.#rows.set(key, row)
    const [oldest] = this.#rows.keys()
    if (this.#rows.size > MAX_SUSPENDED && oldest !== undefined) {
      this.#rows.delete(oldest)
    }
  }

  get(id: InodeId): FileRow | undefined {
    return this.#rows.get(inodeKey(id))
  }

  forget(id: InodeId): void {
    this.#rows.delete(inodeKey(id))
  }
}
