import {
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs'
import { isErrno } from '../base/index.ts'
import type { StorePaths } from './store.ts'

/** Another one after each start of the machine (random(4)). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const MARK = /^none ([0-9a-f-]{36})\n$/

/** The start of the machine, as the mark names it. */
export function bootId(): string {
  return readFileSync(BOOT_ID, 'latin1').trim()
}

/**
 * Since which start of the machine programs may write into the tree unseen: a mount without an
 * engine said so in the mark `unclean`, and no other start has been dealt with since.
 *
 * @returns its boot id, or undefined where all who write are heard
 */
export function unseenSince({ unclean }: Pick<StorePaths, 'unclean'>): string | undefined {
  try {
    return MARK.exec(readFileSync(unclean, 'latin1'))?.[1]
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}

/**
 * True while somebody may still write into the tree past every engine: what was opened in a mount
 * without one stays open past its unmount, at most until the machine starts again.
 */
export function hasUnseenWriters(paths: Pick<StorePaths, 'unclean'>): boolean {
  return unseenSince(paths) === bootId()
}

/** Says, durably, that programs write unseen from now on. The mark must be there. */
export function markUnseen(paths: Pick<StorePaths, 'unclean'>): void {
  rewrite(paths, `none ${bootId()}\n`)
}

/** The mark as any engine leaves it, durably: nobody writes unseen any more. */
export function forgetUnseen(paths: Pick<StorePaths, 'unclean'>): void {
  rewrite(paths, '')
}

function rewrite({ unclean }: Pick<StorePaths, 'unclean'>, text: string): void {
  const file = openSync(unclean, constants.O_WRONLY | constants.O_NOFOLLOW)
  try {
    ftruncateSync(file)
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
