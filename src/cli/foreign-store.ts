import { ModelcacheError } from '../base/index.ts'

/** What is said of a mount that this user may not ask about. */
export const FOREIGN = 'belongs to another user'

/** A store is closed to all but its owner: who may not enter it cannot ask what serves it. */
export function foreignStore(store: string, cause: unknown): ModelcacheError {
  return new ModelcacheError(
    `the store ${store} ${FOREIGN}: permission denied; only its owner and root may use it`,
    { code: 'foreign-store', exitCode: 1, cause },
  )
}

/** Whether an error says that a store is another user's. */
export function isForeign(error: unknown): boolean {
  return error instanceof ModelcacheError && error.code === 'foreign-store'
}
