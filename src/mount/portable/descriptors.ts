import { readdirSync, readlinkSync } from 'node:fs'
import { closeOnExec, isErrno } from '../../base/index.ts'

/**
 * libfuse leaves its connection to the kernel open in the children of this process: a mount would
 * go on, without anybody who answers, as long as one of them lives.
 */
export function keepFuseFromChildren(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    if (targetOf(name) === '/dev/fuse') {
      closeOnExec(Number(name))
    }
  }
}

/** The descriptor of the listing itself is gone by now. */
function targetOf(name: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${name}`)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
}
