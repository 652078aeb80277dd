import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  type EngineName,
  has,
  nodePath,
  readTree,
  start,
  treeDifferences,
  waitFor,
  withMount,
} from '../support/index.ts'

const KIB = 1024
const MIB = 1024 * KIB
const PAIRS: readonly (readonly [EngineName, EngineName])[] = [
  ['native', 'fuse-native'],
  ['fuse-native', 'native'],
  ['none', 'native'],
]

/** Clean files, all in a root: what is written next has to be noticed after the crash. */
function writeFirst(root: string): void {
  mkdirSync(join(root, 'blobs'))
  writeFileSync(join(root, 'blobs/in place'), Buffer.alloc(3 * MIB, 'first'))
  writeFileSync(join(root, 'blobs/appended'), 'first\n')
  writeFileSync(join(root, 'blobs/replaced'), 'first')
}

/** Everything here is closed before the kill. */
function writeSecond(root: string): void {
  const file = openSync(join(root, 'blobs/in place'), 'r+')
  writeSync(file, 'second', 2 * MIB)
  closeSync(file)
  writeFileSync(join(root, 'blobs/appended'), 'second\n', { flag: 'a' })
  writeFileSync(join(root, 'blobs/new.incomplete'), Buffer.alloc(MIB + 1, 'second'))
  renameSync(join(root, 'blobs/new.incomplete'), join(root, 'blobs/new'))
  renameSync(join(root, 'blobs/replaced'), join(root, 'blobs/moved'))
  symlinkSync('blobs/new', join(root, 'model.bin'))
}

/** Appends numbered lines to a file that was clean, and says after each write how long it is. */
const WRITER = `
  const { openSync, writeSync } = require('node:fs')
  const file = openSync(process.argv[1], 'a')
  for (let length = 6; length < 1e9; ) {
    length += writeSync(file, String(length).padStart(1023) + '\\n')
    writeSync(1, length + '\\n')
  }`

/** The lines of the writer up to this length. */
function written(length: number): string {
  let text = 'first\n'
  while (text.length < length) text += `${String(text.length).padStart(KIB - 1)}\n`
  return text
}

function lastLength(output: string): number {
  return Number(/(\d+)\n[^\n]*$/.exec(output)?.[1] ?? 0)
}

/** All but the file that goes on growing. */
const OTHERS = { mtimes: true, ignore: (path: string) => path === 'growing' }

describe('a store whose engine was killed while a program wrote', () => {
  for (const [killed, next] of PAIRS) {
    it(`${killed}: is whole with ${next}, and commits to the right tree`, async (t) => {
      if (!has(t, 'fuse')) return
      const mount = await withMount(t, { engine: killed })
      const growing = join(mount.mountpoint, 'growing')
      writeFirst(mount.mountpoint)
      writeFileSync(growing, 'first\n')
      const first = await mount.commitAll()
      writeSecond(mount.mountpoint)
      const before = await readTree(mount.mountpoint, OTHERS)

      const program = start(nodePath(), ['-e', WRITER, growing], { env: mount.env })
      t.after(() => program.kill())
      await waitFor('the program to write', () => lastLength(program.output()) > 64 * KIB)
      await mount.crash()
      // What is open through passthrough, or in no mount, outlives them: it is written past the end.
      const atKill = lastLength(program.output())
      const told = () => program.child.exitCode !== null
      const goesOn = () => lastLength(program.output()) > atKill + 64 * KIB
      await waitFor('the program to be told, or to go on', () => told() || goesOn())
      await program.kill()
      const acknowledged = lastLength(program.output())

      await mount.mount(['--engine', next])
      assert.equal((await mount.status()).engine, next)
      const text = readFileSync(growing, 'latin1')
      assert.ok(text.length >= acknowledged, `${text.length} of ${acknowledged} bytes`)
      // A write that was not acknowledged may be there in part: FUSE cuts it where pages end.
      assert.equal(text, written(text.length).slice(0, text.length))
      const after = await readTree(mount.mountpoint, OTHERS)
      assert.deepEqual(treeDifferences(before, after), [])

      const { tree } = await mount.commitAll()
      assert.notEqual(tree, first.tree)
      const fresh = await withMount(t, { engine: next })
      writeFirst(fresh.mountpoint)
      writeSecond(fresh.mountpoint)
      writeFileSync(join(fresh.mountpoint, 'growing'), text)
      assert.equal((await fresh.commitAll()).tree, tree)
    })
  }
})
