import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** The tables of /proc/PID/net that list sockets of the internet families. */
const TABLES = ['tcp', 'tcp6', 'udp', 'udp6', 'udplite', 'udplite6', 'raw', 'raw6']

/** The internet sockets that a process has open, as `tcp 0100007F:1F90`; empty if none. */
export function internetSockets(pid: number): string[] {
  const open = new Set<string>()
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    const match = /^socket:\[(\d+)\]$/.exec(tryReadlink(`/proc/${pid}/fd/${name}`))
    if (match?.[1] !== undefined) open.add(match[1])
  }
  const found: string[] = []
  for (const table of TABLES) {
    for (const line of tryRead(`/proc/${pid}/net/${table}`).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/)
      // Fields: slot, local address, remote address, state, queues, timers, retransmits, uid,
      // timeout, inode: the tenth.
      if (open.has(fields[9] ?? '')) found.push(`${table} ${fields[1]}`)
    }
  }
  return found
}

/** A descriptor can be closed between listing and looking: then it is no socket of interest. */
function tryReadlink(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** Kernels without a protocol have no table of it, and so no socket either. */
function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
