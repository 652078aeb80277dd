import type { Database, EntryType, InodeId, NameClassifier } from '../tree/index.ts'

/** Why a name is in no root. */
export interface LeftOut {
  reason: string
  secret: boolean
}

/**
 * Which names are local-only. A secret sticks to its inode: once a file had the name of one, no
 * other name makes it public.
 */
export class NameRules {
  readonly #secrets: Database['secrets']
  readonly #classify: NameClassifier

  constructor(secrets: Database['secrets'], classify: NameClassifier) {
    this.#secrets = secrets
    this.#classify = classify
  }

  /** Why this path is in no root, by its own name or that of a folder above. */
  reason(path: string | Uint8Array, type: EntryType): LeftOut | undefined {
    const found = this.#classify(path, type)
    return found.localOnly ? { reason: found.reason, secret: found.secret } : undefined
  }

  /** Remembers, durably, that the inode has the name of a secret. */
  async rememberSecret(id: InodeId): Promise<void> {
    if (!(await this.#secrets.has(id))) {
      await this.#secrets.add(id)
    }
  }

  /** True when the inode once had the name of a secret. */
  isSecret(id: InodeId): Promise<boolean> {
    return this.#secrets.has(id)
  }
}
