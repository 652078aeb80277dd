import { readdirSync, readlinkSync } from 'node:fs'

/** The processes whose working directory is at or below `directory`: a keeper's is its store. */
export function processesIn(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const place = workingDirectory(pid)
      return place === directory || place?.startsWith(`${directory}/`)
    })
}

/** Undefined for a process that ended meanwhile, or is another user's. */
function workingDirectory(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return undefined
    throw error
  }
}
