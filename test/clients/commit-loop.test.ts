import assert from 'node:assert/strict'
import { cpSync, writeFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { type TestContext, test } from 'node:test'
import { controlClient } from '../../src/daemon/index.ts'
import { type Hub, startHub } from '../hub/index.ts'
import { type CommitAnswer, has, type Mount, tempDir, withMount } from '../support/index.ts'
import {
  clientEnvironment,
  lastJson,
  MODELS,
  madeModels,
  online,
  PIN_SETS,
  startProgram,
} from './clients.ts'
import { type OfflineRoots, openOfflineRoots, type RootEntry } from './offline-roots.ts'

const REPOSITORIES = process.env.MODELCACHE_TEST_LONG === '1' ? 120 : 24
/** What must never be in a root: locks, partial and temporary files, probes, secrets. */
const FORBIDDEN =
  /(^|\/)(\.locks\/.+|[^/]*\.lock|[^/]*\.incomplete|[^/]*\.tmp|tmp_[^/]*|tmp[a-z0-9_]{8}|token|stored_tokens|dummy_file_src)$/

for (const set of PIN_SETS) {
  for (const mode of ['keep', 'delete'] as const) {
    test(`${set}, ${mode}: no root has a dangling link, a half file, a lock or a token`, async (t) => {
      if (!has(t, 'fuse', 'python', 'cc')) return
      const base = tempDir(t)
      const hub = await startHub()
      t.after(() => hub.close())
      const ids = await publishMany(hub, base)
      const mount = await withMount(t)
      writeFileSync(join(mount.mountpoint, 'token'), 'hf_abcdefghijklmnopqrstuvwxyzABCDEFGH')
      writeFileSync(
        join(mount.mountpoint, 'stored_tokens'),
        '[me]\nhf_token = hf_abcdefghijklmnop\n',
      )

      const env = clientEnvironment(join(base, 'home'), mount.mountpoint, online(hub))
      const program = await startProgram(set, 'download_loop.py', [mode, ...ids], env)
      const roots = await commitUntil(mount, program.finished)
      await lastJson(program, 'download_loop.py')
      const last = await mount.commitAll()
      await mount.unmount()
      await checkRoots(t, mount.store, mode, [...roots, last.root])
    })
  }
}

/** Repositories of a BERT in two revisions, each with a file of its own beside shared weights. */
async function publishMany(hub: Hub, base: string): Promise<string[]> {
  const source = join(await madeModels(), MODELS.bert)
  const ids: string[] = []
  for (let index = 0; index < REPOSITORIES; index += 1) {
    const id = `loop/bert-${index}`
    for (const [revision, sizeBytes] of [
      ['old', 900_000],
      ['main', 1_500_000],
    ] as const) {
      const directory = join(base, `repository-${index}-${revision}`)
      cpSync(source, directory, { recursive: true })
      const own = Buffer.alloc(sizeBytes + index, `${revision} ${index} `)
      writeFileSync(join(directory, 'own.bin'), own)
      await hub.publish(id, directory, { revision })
    }
    ids.push(id)
  }
  return ids
}

/**
 * Commits again and again until `end`, without a pause: on the control socket, since starting the
 * command line takes longer than a commit. The roots in their order.
 */
async function commitUntil(mount: Mount, end: Promise<unknown>): Promise<string[]> {
  const control = controlClient(mount.store)
  let ended = false
  end.finally(() => {
    ended = true
  })
  const roots: string[] = []
  while (!ended) {
    const answer = (await control.call('commit', {})) as CommitAnswer
    roots.push(answer.root)
  }
  return roots
}

async function checkRoots(
  t: TestContext,
  store: string,
  mode: 'keep' | 'delete',
  roots: string[],
): Promise<void> {
  const offline = await openOfflineRoots(store)
  try {
    const distinct = [...new Set([...offline.commits.map(({ root }) => root), ...roots])]
    assert.ok(distinct.length >= 3, `the loops met: ${distinct.length} roots`)
    t.diagnostic(`${distinct.length} roots`)
    const lastTree = await offline.treeOf(distinct.at(-1) ?? '')
    for (const root of distinct) {
      const tree = await offline.treeOf(root)
      const entries = await offline.walk(tree)
      checkNames(root, entries)
      // What was deleted is gone from the disk: only the newest root of a deleting loop is whole.
      if (mode === 'keep' || tree === lastTree) await checkBlobs(root, entries, offline)
    }
    const final = await offline.walk(lastTree)
    const snapshots = final.filter(({ path }) => /\/snapshots\/[0-9a-f]{40}$/.test(path))
    assert.equal(snapshots.length, REPOSITORIES, 'everything is in the last root')
  } finally {
    await offline.close()
  }
}

function checkNames(root: string, entries: RootEntry[]): void {
  const names = new Set(entries.map(({ path }) => path))
  for (const { path, target } of entries) {
    assert.ok(!FORBIDDEN.test(path), `${root} has ${path}`)
    if (target === undefined) continue
    const leadsTo = posix.join(posix.dirname(path), target)
    assert.ok(names.has(leadsTo), `${root}: ${path} leads to ${target}, which is not there`)
  }
}

async function checkBlobs(
  root: string,
  entries: RootEntry[],
  offline: OfflineRoots,
): Promise<void> {
  for (const { path, cid, type } of entries) {
    const name = /\/blobs\/([0-9a-f]{40}|[0-9a-f]{64})$/.exec(path)?.[1]
    if (type !== 'file' || name === undefined) continue
    const { sha256, gitSha1, sizeBytes } = await offline.digestsOf(cid)
    const digest = name.length === 64 ? sha256 : gitSha1
    assert.equal(digest, name, `${root}: ${path} has ${sizeBytes} bytes that are not its own`)
  }
}
