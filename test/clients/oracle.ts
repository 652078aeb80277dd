import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { controlClient } from '../../src/daemon/index.ts'
import {
  type EngineName,
  type Mount,
  makeTempDir,
  type PinSet,
  readTree,
  removeTempDir,
  type TreeEntry,
  tempDir,
  treeDifferences,
  withMount,
} from '../support/index.ts'
import { clientEnvironment, lastJson, runProgram, startProgram } from './clients.ts'

/** The answers of a program are JSON objects; a test reads what it asserts by name. */
export type Answer = Record<string, unknown>

/**
 * A program of test/clients/python with the verbs `write DIRECTORY` and `read DIRECTORY`. It says what
 * it computed as one line of JSON; the same program says the same on every disk.
 */
export interface Client {
  program: string
  /** Arguments after verb and directory. */
  more?: string[]
  /** Files whose bytes differ between any two runs: they carry times, addresses or random salts. */
  varying?: RegExp
  /** Names that differ between any two runs; the program describes such files itself. */
  unnamed?: RegExp
  /** The fixed form of a name that carries the directory's own name. */
  rename?: (path: string, directory: string) => string
}

/** What a client answered, on a mount as on the plain directory. */
export interface Answers {
  wrote: Answer
  read: Answer
}

interface Oracle extends Answers {
  written: TreeEntry[]
  tree: TreeEntry[]
}

const SET: PinSet = 'beyond-hub'

/** One for each client of a test file, however many engines it runs on. */
const oracles = new Map<Client, Promise<Oracle>>()

/**
 * Runs a client on a plain directory and then on a mount, and asserts the same answers and the same
 * tree: after writing while the tree is committed again and again, after unmount and mount, and after
 * reading.
 *
 * @returns the answers, for what a test asserts of them besides
 */
export async function usedAsOnDisk(
  t: TestContext,
  engine: EngineName,
  client: Client,
): Promise<Answers & { mount: Mount }> {
  const known = oracles.get(client) ?? makeOracle(client)
  oracles.set(client, known)
  const oracle = await known

  const home = join(tempDir(t), 'home')
  const mount = await withMount(t, { engine })
  const place = mount.mountpoint
  const env = clientEnvironment(home, join(home, 'hf'))
  const args = ['write', place, ...(client.more ?? [])]
  const writing = await startProgram(SET, client.program, args, env)
  await commitUntil(mount, writing.finished)
  const wrote = await lastJson<Answer>(writing, client.program)
  assert.deepEqual(wrote, oracle.wrote, 'what the program said while it wrote')
  assertSame(oracle.written, await treeOf(client, place), 'after writing')

  await mount.commitAll()
  await mount.unmount()
  await mount.mount()
  assertSame(oracle.written, await treeOf(client, place), 'after unmount and mount')
  const read = await runClient(client, 'read', place, home)
  assert.deepEqual(read, oracle.read, 'what the program said while it read')
  assertSame(oracle.tree, await treeOf(client, place), 'after reading')
  await mount.commitAll()
  assert.equal((await mount.status()).restarts, 0, 'the daemon served it all in one life')
  return { wrote, read, mount }
}

/**
 * Lets a client read a tree on a second mount, which has only the first one's root and address, and
 * asserts that the whole tree is there.
 */
export async function readElsewhere(
  t: TestContext,
  engine: EngineName,
  client: Client,
  first: Mount,
): Promise<Answer> {
  const { root } = await first.commitAll()
  const { address } = await first.share()
  const second = await withMount(t, { engine, args: ['--from', root, '--peer', address] })
  const answer = await runClient(client, 'read', second.mountpoint, join(tempDir(t), 'home'))
  assert.equal((await second.status()).hydrate.errors, 0)
  // Lock files stay on their machine, and reading makes new ones.
  const ignore = (path: string) => path.endsWith('.lock')
  const sent = await readTree(first.mountpoint, { ignore })
  assertSame(sent, await readTree(second.mountpoint, { ignore }), 'on the second mount')
  return answer
}

async function makeOracle(client: Client): Promise<Oracle> {
  const base = makeTempDir()
  try {
    const [plain, home] = [join(base, 'plain'), join(base, 'home')]
    mkdirSync(plain)
    const wrote = await runClient(client, 'write', plain, home)
    const written = await treeOf(client, plain)
    const read = await runClient(client, 'read', plain, home)
    return { wrote, written, read, tree: await treeOf(client, plain) }
  } finally {
    await removeTempDir(base)
  }
}

function runClient(client: Client, verb: string, place: string, home: string): Promise<Answer> {
  const env = clientEnvironment(home, join(home, 'hf'))
  return runProgram(SET, client.program, [verb, place, ...(client.more ?? [])], env)
}

/** Commits without a pause until `end`, so that files are settled between a program's own steps. */
async function commitUntil(mount: Mount, end: Promise<unknown>): Promise<void> {
  const control = controlClient(mount.store)
  let ended = false
  const watched = end.finally(() => {
    ended = true
  })
  while (!ended) await control.call('commit', {})
  await watched
}

/** The tree of a directory without what differs between any two runs of the client. */
async function treeOf(client: Client, directory: string): Promise<TreeEntry[]> {
  const entries = await readTree(directory)
  return entries
    .filter(({ path }) => !client.unnamed?.test(path))
    .map((entry) => ({ ...entry, path: client.rename?.(entry.path, directory) ?? entry.path }))
    .map((entry) => {
      if (!client.varying?.test(entry.path)) return entry
      const { sizeBytes: _size, sha256: _digest, ...rest } = entry
      return rest
    })
}

function assertSame(expected: TreeEntry[], got: TreeEntry[], when: string): void {
  assert.deepEqual(treeDifferences(expected, got), [], when)
}
