import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type EngineName, FUSE_ENGINES, has, runOk, withMount } from '../support/index.ts'

const FILES = 3000

/** Soft limit on open files of this process, which what it starts inherits. */
async function limitOpenFiles(soft: string): Promise<void> {
  const env = { PATH: process.env.PATH ?? '' }
  await runOk('prlimit', [`--pid=${process.pid}`, `--nofile=${soft}:`], { env })
}

function ownLimit(): string {
  const [, soft = ''] =
    readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+(\S+)/m) ?? []
  return soft
}

const ENGINES: readonly EngineName[] = [...FUSE_ENGINES, 'none']

for (const engine of ENGINES) {
  test(`${engine}: 3,000 files are open, though it was started under ulimit -Sn 1024`, async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const before = ownLimit()
    t.after(() => limitOpenFiles(before))
    await limitOpenFiles('1024')
    const mount = await withMount(t, { engine })
    await limitOpenFiles(before)

    const directory = join(mount.mountpoint, 'many')
    mkdirSync(directory)
    assert.deepEqual(wrongOnes(directory), [])
    const { state } = await mount.status()
    assert.equal(state, 'serving')
  })
}

/** Opens all at once, and tells which of them do not give what was written. */
function wrongOnes(directory: string): number[] {
  const names = Array.from({ length: FILES }, (_, number) => join(directory, String(number)))
  const fds: number[] = []
  try {
    for (const name of names) fds.push(openSync(name, 'w+'))
    for (const [number, fd] of fds.entries()) writeSync(fd, `${number}`)
    // Half of them go on without a name, for which an engine may need more than with one.
    for (const name of names.slice(0, FILES / 2)) unlinkSync(name)
    const buffer = Buffer.alloc(16)
    return fds.flatMap((fd, number) => {
      const length = readSync(fd, buffer, 0, buffer.length, 0)
      return buffer.toString('latin1', 0, length) === `${number}` ? [] : [number]
    })
  } finally {
    for (const fd of fds) closeSync(fd)
  }
}
