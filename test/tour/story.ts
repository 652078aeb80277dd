import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startHub } from '../hub/index.ts'
import { writeTinyModel } from '../skillset/tiny-model.ts'
import {
  type CommitAnswer,
  isAlive,
  type MountStatus,
  mountpointsBelow,
  readTree,
  treeDifferences,
  waitFor,
} from '../support/index.ts'
import type { Commands } from './commands.ts'
import { describeBytes, type Narrator } from './narrator.ts'

const MODEL = 'tiny/bert'
/** 524,288 rows of 32 floats: 64 MiB of weights, of which a sentence reads a few rows. */
const ROWS = 524_288
const WEIGHTS = `${MODEL}/onnx/model.onnx_data`
const TEXTS = ['the same model on two machines', 'each file has a hash']
const CLIENT = fileURLToPath(new URL('./client.ts', import.meta.url))

/** How many steps {@link tellStory} has. */
export const STEPS = 7

/** What the story happens with: all places lie in one temporary directory. */
export interface Stage {
  narrator: Narrator
  commands: Commands
  base: string
  hub: string
  first: string
  firstStore: string
  second: string
  secondStore: string
}

interface Vectors {
  dimensions: number
  vectors: number[][]
}

/** Where the second mount comes from. */
interface Origin {
  root: string
  address: string
}

/**
 * Download through a mount, CID, a second mount from that root on an empty store, load, inference,
 * bytes fetched.
 *
 * @throws AssertionError as soon as something is not as said; mounts may then be left below `base`
 */
export async function tellStory(stage: Stage): Promise<void> {
  const modelBytes = await makeModel(stage)
  const downloaded = await download(stage)
  const origin = await showRoot(stage)
  await mountFromRoot(stage, origin, modelBytes)
  await inferThere(stage, downloaded, modelBytes)
  await readAllThere(stage, downloaded)
  await unmountBoth(stage)
}

async function makeModel({ narrator, hub }: Stage): Promise<number> {
  narrator.step('A model of 64 MiB')
  const files = await writeTinyModel(hub, { rows: ROWS, externalData: true })
  for (const [path, sizeBytes] of files) {
    narrator.fact(`${path.padEnd(24)} ${describeBytes(sizeBytes)}`)
  }
  return [...files.values()].reduce((sum, sizeBytes) => sum + sizeBytes, 0)
}

async function download({ narrator, commands, ...stage }: Stage): Promise<Vectors> {
  narrator.step('An ordinary program downloads it into a mounted directory')
  await commands.modelcache('mount', stage.first, '--store', stage.firstStore, '--gate', 'open')
  const hub = await startHub()
  try {
    await hub.publish(MODEL, stage.hub)
    narrator.fact(`@huggingface/transformers, unmodified, from a hub at ${hub.url}:`)
    narrator.fact(`  pipeline('feature-extraction', '${MODEL}', { cache_dir: '${stage.first}' })`)
    const options = ['--cache', stage.first, '--hub', hub.url, '--model', MODEL]
    const result = await commands.script<Vectors>(CLIENT, ...options, ...TEXTS)
    narrator.fact(`${result.vectors.length} texts became vectors of ${result.dimensions} numbers;`)
    narrator.fact(`the first begins ${describeVector(result.vectors[0])}`)
    return result
  } finally {
    await hub.close()
  }
}

async function showRoot({ narrator, commands, first }: Stage): Promise<Origin> {
  narrator.step('What is in the directory is UnixFS under one root, each byte once on disk')
  const committed = await commands.modelcacheJson<CommitAnswer>('commit', first)
  assert.deepEqual(committed.open, [], 'nothing is open any more')
  assert.equal(committed.dirty, 0, 'nothing is dirty any more')
  narrator.fact(`root    ${committed.root}`)
  narrator.fact(`tree    ${committed.tree}, what Kubo makes of the same files`)
  const weights = join(first, WEIGHTS)
  const [answer] = await commands.modelcacheJson<{ cid: string }[]>('cid', weights)
  assert.match(answer?.cid ?? '', /^baf/, 'the weights have a CID')
  narrator.fact(`weights ${answer?.cid}`)
  const { engine, passthrough, store_usage: usage } = await readStatus(commands, first)
  narrator.fact(`engine  ${engine}, passthrough ${passthrough.active ? 'on' : 'off'}`)
  narrator.fact(`on disk ${describeBytes(usage.treeBytes)} of files, and beside them`)
  narrator.fact(`        ${describeBytes(usage.blockBytes + usage.indexBytes)} of nodes and index`)
  const { address } = await commands.modelcacheJson<{ address: string }>('share', first)
  narrator.fact(`shared  ${address}`)
  return { root: committed.root, address }
}

async function mountFromRoot(stage: Stage, origin: Origin, modelBytes: number): Promise<void> {
  const { narrator, commands, first, second } = stage
  narrator.step('Another store, which is empty, is mounted from that root')
  await commands.modelcache(
    ...['mount', second, '--store', stage.secondStore, '--gate', 'open'],
    ...['--from', origin.root, '--peer', origin.address],
  )
  const names = (await readdir(second, { recursive: true })).sort()
  assert.deepEqual(names, (await readdir(first, { recursive: true })).sort(), 'the names are there')
  const { size } = await stat(join(second, WEIGHTS))
  assert.equal(size, (await stat(join(first, WEIGHTS))).size, 'the size is there')
  narrator.fact(`ls -R shows all ${names.length} names; the weights have ${describeBytes(size)}`)
  const { tree, hydrate } = await readStatus(commands, second)
  assert.ok(tree.placeholders > 0, 'its files are placeholders')
  assert.ok(hydrate.bytes < modelBytes / 100, 'looking around fetches next to nothing')
  narrator.fact(`${tree.placeholders} files are placeholders`)
  narrator.fact(`fetched ${describeBytes(hydrate.bytes)}`)
}

async function inferThere(stage: Stage, expected: Vectors, modelBytes: number): Promise<void> {
  const { narrator, commands, second } = stage
  narrator.step('The model runs there, and only what it reads is fetched')
  const texts = TEXTS.flatMap((text) => ['--text', text])
  const answer = await commands.modelcacheJson<Vectors>('infer', join(second, MODEL), ...texts)
  assert.deepEqual(answer.vectors, expected.vectors, 'the vectors are the same')
  narrator.fact(`the same ${answer.vectors.length} vectors, to the last digit`)
  const { hydrate } = await readStatus(commands, second)
  assert.equal(hydrate.errors, 0, 'no fetch failed')
  assert.ok(hydrate.bytes > 0, 'something was fetched')
  assert.ok(hydrate.bytes < modelBytes / 2, 'less than half of the model was fetched')
  const percent = ((hydrate.bytes / modelBytes) * 100).toFixed(1)
  narrator.fact(`model   ${describeBytes(modelBytes)}`)
  narrator.fact(`fetched ${describeBytes(hydrate.bytes)}: ${percent} %`)
}

async function readAllThere(stage: Stage, expected: Vectors): Promise<void> {
  const { narrator, commands, first, second } = stage
  narrator.step('It is a directory like any other')
  const options = ['--cache', second, '--model', MODEL, '--offline']
  const again = await commands.script<Vectors>(CLIENT, ...options, ...TEXTS)
  assert.deepEqual(again.vectors, expected.vectors, 'the vectors are the same')
  narrator.fact('the same program loads from it without a hub: the same vectors again')
  const mtimes = { mtimes: true }
  const differences = treeDifferences(await readTree(first, mtimes), await readTree(second, mtimes))
  assert.deepEqual(differences, [], 'both trees are the same')
  narrator.fact('read to the end: every name, mode, time and byte is as in the first')
  const { tree, hydrate } = await readStatus(commands, second)
  assert.equal(tree.missingBytes, 0, 'nothing is missing')
  narrator.fact(`fetched ${describeBytes(hydrate.bytes)}`)
  const [ours, theirs] = [
    await commands.modelcacheJson<CommitAnswer>('commit', second),
    await commands.modelcacheJson<CommitAnswer>('commit', first),
  ]
  assert.equal(ours.tree, theirs.tree, 'both trees have one CID')
  narrator.fact(`both trees are ${ours.tree}`)
}

async function unmountBoth({ narrator, commands, base, first, second }: Stage): Promise<void> {
  narrator.step('Unmounted, nothing is left')
  const processes: number[] = []
  for (const place of [first, second]) {
    const { pid, keeperPid } = await readStatus(commands, place)
    processes.push(pid, keeperPid)
  }
  for (const place of [second, first]) await commands.modelcache('unmount', place)
  assert.deepEqual(mountpointsBelow(base), [], 'no mount is left')
  await waitFor('keepers and daemons to end', () => processes.every((pid) => !isAlive(pid)))
  narrator.fact(`no mount, and none of ${processes.length} processes`)
}

async function readStatus(commands: Commands, mountpoint: string): Promise<MountStatus> {
  const text = await commands.quietly('status', mountpoint, '--json')
  const answer: MountStatus | MountStatus[] = JSON.parse(text)
  const status = Array.isArray(answer) ? answer[0] : answer
  assert.ok(status, `status ${mountpoint} knows the mount`)
  return status
}

function describeVector(vector: readonly number[] = []): string {
  return vector
    .slice(0, 4)
    .map((number) => number.toFixed(4))
    .join(', ')
}
