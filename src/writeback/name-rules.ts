import {
  type Database,
  type EntryType,
  type InodeId,
  inodeKey,
  type NameClassifier,
} from '../tree/index.ts'

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
  /** Those whose mark may still be on its way into the table. */
  readonly #recent = new Set<string>()

  constructor(secrets: Database['secrets'], classify: NameClassifier) {
    this.#secrets = secrets
    this.#classify = classify
  }

  /** Why this path is in no root, by its own name or that of a folder above. */
  reason(path: string | Uint8Array, type: EntryType): LeftOut | undefined {
    const found = this.#classify(path, type)
    return found.localOnly ? { reason: found.reason, secret: found.secret } : undefined
  }

  /** Remembers, durably, that the inode has the name of a secret. Known at once to `isSecret`. */
  async rememberSecret(id: InodeId): Promise<void> {
    const key = inodeKey(id)
    this.#recent.add(key)
    if (!(await this.#secrets.has(id))) {
      await this.#secrets.add(id)
    }
    this.#recent.delete(key)
  }

  /** True when the inode once had the name of a secret. */
  async isSecret(id: InodeId): Promise<boolean> {
    return this.#recent.has(inodeKey(id)) || (await this.#secrets.has(id))
  }
}
