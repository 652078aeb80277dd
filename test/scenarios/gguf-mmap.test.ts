import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { from, sharedOrigin } from '../network/pair.ts'
import { tcpRelay } from '../network/tcp-relay.ts'
import {
  type Finished,
  FUSE_ENGINES,
  has,
  type Mount,
  repositoryRoot,
  scrubbedEnvironment,
  start,
  tempDir,
  withMount,
} from '../support/index.ts'
import { testScenarios } from './scenario.ts'

const MIB = 1024 * 1024
const PROGRAM = join(repositoryRoot, 'test/scenarios/python/s26_gguf_mmap.py')

/**
 * What either process may take at most, for a model of 192 MiB and, in the long run, 1.5 GiB: less
 * than the model, so one that held it, or grew with what is read of it, is seen. Measured for the
 * daemon that fetches: 190 MiB, 336 MiB, and 346 MiB for 4 GiB; for the keeper 7 MiB.
 */
const DAEMON_BYTES = (process.env.MODELCACHE_TEST_LONG === '1' ? 512 : 256) * MIB
const KEEPER_BYTES = 32 * MIB

/** How soon a fetch is given up; faults of the program wait as long. */
const DEADLINE_S = 2
/** Far beyond it: a fault that hangs is a failure, and must not hang the test as well. */
const HANGS_MS = 60_000

// Scenario 26: llama.cpp's way to load a model.
testScenarios([
  {
    name: 's26_gguf_mmap',
    elsewhere: true,
    afterRun: async (mount) => {
      await mount.commitAll()
      await assertBoundedMemory(mount)
    },
    afterSecond: assertBoundedMemory,
  },
])

async function assertBoundedMemory(mount: Mount): Promise<void> {
  const { pid, keeperPid } = await mount.status()
  const daemon = peakBytes(pid)
  assert.ok(daemon < DAEMON_BYTES, `the daemon took ${daemon} bytes`)
  if (keeperPid <= 0 || keeperPid === pid) return
  const keeper = peakBytes(keeperPid)
  assert.ok(keeper < KEEPER_BYTES, `the keeper took ${keeper} bytes`)
}

/** The most that a process has had in memory; it counts what it shares with others as well. */
function peakBytes(pid: number): number {
  const [, kilobytes] =
    /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  if (kilobytes === undefined) throw new Error(`process ${pid} has no VmHWM`)
  return Number(kilobytes) * 1024
}

for (const engine of FUSE_ENGINES) {
  test(`${engine}: a fault that cannot be fetched is SIGBUS in time, and right once it can`, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const home = join(tempDir(t), 'home')
    const model = Buffer.concat(Array.from({ length: 24 }, (_, index) => pieceOf(index)))
    const fill = (directory: string) => writeFile(join(directory, 'model.gguf'), model)
    const origin = await sharedOrigin(t, fill, { engine })
    const relay = await tcpRelay(t, origin.address)
    const args = [...from(origin, relay.address), '--fetch-deadline', String(DEADLINE_S)]
    const { mountpoint } = await withMount(t, { engine, args })
    const path = join(mountpoint, 'model.gguf')
    const fault = (piece: number): Promise<Finished> => {
      const program = ['-B', PROGRAM, path, String(piece * 256 + 7)]
      const options = { env: scrubbedEnvironment(home), deadlineMs: HANGS_MS }
      return start('python3', program, options).finished
    }
    assert.equal((await fault(1)).stdout, 'right')

    relay.behave('cut')
    const faults = await Promise.all([fault(21), fault(22), fault(21)])
    assert.deepEqual(
      faults.map(({ signal, stdout }) => [signal, stdout]),
      Array(3).fill(['SIGBUS', '']),
    )
    const copied = start('cat', [path], { env: scrubbedEnvironment(home), deadlineMs: HANGS_MS })
    const { code, stderr } = await copied.finished
    assert.notEqual(code, 0)
    assert.match(stderr, /Input\/output error/)
    assert.equal((await fault(1)).stdout, 'right', 'what is here stays readable')

    relay.behave('pass')
    assert.equal((await fault(21)).stdout, 'right')
  })
}

/** A piece of s26's model: those of zeros are enough to tell right from wrong by their number. */
function pieceOf(index: number): Buffer {
  const bytes = Buffer.alloc(MIB)
  bytes.write('GGUF')
  bytes.writeUInt32LE(index, 4)
  return bytes
}
