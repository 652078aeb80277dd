// What tests must not leave behind: mounts, and processes that work in the run's own folder.

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'

/** A keeper that was told to end may be at it still when the last test has ended. */
const GRACE_MS = 5_000

/**
 * Mounts on, or of a store in, the run's folder, and processes that stand in it or name it.
 *
 * @param {string} place - the run's folder
 * @param {number} graceMs - how long they may take to end by themselves
 * @returns {Promise<{ text: string, pid?: number, mountpoint?: string }[]>}
 */
export async function findLeftovers(place, graceMs = GRACE_MS) {
  const end = performance.now() + graceMs
  for (;;) {
    const found = [...mountsIn(place), ...processesIn(place)]
    if (found.length === 0 || performance.now() > end) {
      return found
    }
    await wait(100)
  }
}

/** Takes away what was found, by its own pid and mountpoint, and then the folder. */
export async function clearLeftovers(leftovers, place) {
  for (const { pid } of leftovers) {
    if (pid !== undefined) {
      tryKill(pid)
    }
  }
  for (const { mountpoint } of leftovers.toReversed()) {
    if (mountpoint !== undefined) {
      spawnSync('umount', ['--lazy', mountpoint], { stdio: 'inherit' })
    }
  }
  if (mountsIn(place).length === 0) {
    rmSync(place, { recursive: true, force: true, maxRetries: 3 })
  }
}

function mountsIn(place) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(place))
    .map((line) => {
      const fields = line.split(' ')
      const mountpoint = fields[4].replace(/\\([0-7]{3})/g, (_, digits) =>
        String.fromCharCode(Number.parseInt(digits, 8)),
      )
      return {
        text: `a mount of ${fields[fields.indexOf('-', 6) + 1]} on ${mountpoint}`,
        mountpoint,
      }
    })
}

function processesIn(place) {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const command = tried(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')).replaceAll(
        '\0',
        ' ',
      )
      const folder = tried(() => readlinkSync(`/proc/${pid}/cwd`))
      const isOurs = command.includes(place) || folder.startsWith(`${place}/`)
      return isOurs ? [{ text: `process ${pid}: ${command.slice(0, 200)}`, pid: Number(pid) }] : []
    })
}

/** Processes end, and belong to others, while they are looked at: those are not ours. */
function tried(read) {
  try {
    return read()
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(error.code)) {
      return ''
    }
    throw error
  }
}

function tryKill(pid) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') {
      throw error
    }
  }
}
