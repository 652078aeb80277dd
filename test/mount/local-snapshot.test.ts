import assert from 'node:assert/strict'
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { CID } from 'multiformats/cid'
import { createLogger, lsetxattr, mknod, systemClock } from '../../src/base/index.ts'
import type { ListedDirectory, ListedEntry } from '../../src/mount/index.ts'
import { printableName } from '../../src/mount/index.ts'
import { ChangedDirectories } from '../../src/mount/local/changed-directories.ts'
import { SnapshotTaker } from '../../src/mount/local/snapshot-taker.ts'
import {
  clearUnlisted,
  createPlaceholders,
  type InodeId,
  inodeIdOf,
  inodeKey,
  type PlaceholderRecord,
  RECORD_XATTR,
  readRecord,
} from '../../src/tree/index.ts'
import { tempDir } from '../support/index.ts'

const CONTENT = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')

/** A taker over a real directory, with a look into what it does. */
class Taking {
  readonly dir: string
  readonly changes = new ChangedDirectories(false)
  readonly gone: InodeId[] = []
  readonly vanished: InodeId[] = []
  readonly log: string[] = []
  readonly taker: SnapshotTaker
  /** Called with the inode of every file while its directory is being listed. */
  onFile: (ino: bigint) => void = () => undefined
  /** Inodes with an object, and those to which only objects lead. */
  withObject = new Set<bigint>()
  nameless: InodeId[] = []

  constructor(t: TestContext, noted: (dir: string) => InodeId[] = () => []) {
    this.dir = tempDir(t)
    const rootFd = openSync(this.dir, constants.O_RDONLY | constants.O_DIRECTORY)
    // The timers of the program keep no process alive.
    const alive = setInterval(() => undefined, 1000)
    t.after(() => {
      clearInterval(alive)
      closeSync(rootFd)
    })
    this.taker = new SnapshotTaker({
      rootFd,
      objects: {
        of: (ino) => {
          this.onFile(ino)
          return this.withObject.has(ino) ? 1 : 0
        },
        inodes: () => this.withObject,
        nameless: async () => this.nameless,
      },
      changes: this.changes,
      noted: noted(this.dir),
      vanished: (id) => this.vanished.push(id),
      gone: (id) => this.gone.push(id),
      logger: createLogger({ level: 'debug', write: (line) => this.log.push(line) }),
      clock: systemClock,
    })
  }

  at(path: string): string {
    return join(this.dir, path)
  }

  id(path: string): InodeId {
    return inodeIdOf(lstatSync(this.at(path), { bigint: true }))
  }

  write(path: string, text = path): void {
    mkdirSync(dirname(this.at(path)), { recursive: true })
    writeFileSync(this.at(path), text)
  }
}

/** All names of a listing, by path. */
function names(directories: readonly ListedDirectory[]): string[] {
  return directories.flatMap(({ path, entries }) =>
    entries.map(({ name }) => join(printableName(path), printableName(name))),
  )
}

function entryAt(directories: readonly ListedDirectory[], path: string): ListedEntry {
  const parent = dirname(path) === '.' ? '' : dirname(path)
  const entry = directories
    .find((directory) => directory.path === parent)
    ?.entries.find(({ name }) => join(parent, printableName(name)) === path)
  assert.ok(entry !== undefined, `${path} is not listed`)
  return entry
}

/** Paths below a folder that this process has open. */
function openBelow(folder: string): string[] {
  const links = readdirSync('/proc/self/fd').flatMap((fd) => {
    const path = `/proc/self/fd/${fd}`
    // The descriptor of this very listing is closed by now.
    return existsSync(path) ? [readlinkSync(path)] : []
  })
  return links.filter((path) => path.startsWith(folder))
}

function record(fields: Partial<PlaceholderRecord>): PlaceholderRecord {
  return { kind: 'file', cid: CONTENT, mode: 0o640, sizeBytes: 12345, mtimeNs: 5n, ...fields }
}

describe('the listing of a tree', () => {
  it('has every kind of name, sorted by bytes, with what a commit wants to know', async (t) => {
    const taking = new Taking(t)
    taking.write('sub/file')
    chmodSync(taking.at('sub'), 0o2750)
    taking.write('é')
    taking.write('b')
    symlinkSync('sub/file', taking.at('link'))
    mknod(taking.at('fifo'), constants.S_IFIFO | 0o600, 0)
    utimesSync(taking.at('sub'), 1, 2)
    const { directories } = taking.taker.atOnce(true)
    assert.deepEqual(names(directories), ['b', 'fifo', 'link', 'sub', 'é', 'sub/file'])
    const [root, sub] = directories
    assert.deepEqual(sub?.id, taking.id('sub'))
    assert.deepEqual([sub?.mode, sub?.mtimeNs], [0o2750, 2_000_000_000n])
    assert.equal(root?.explicit, false)
    const types = ['b', 'fifo', 'link', 'sub'].map((path) => entryAt(directories, path).type)
    assert.deepEqual(types, ['f', 'o', 'l', 'd'])
    assert.equal(entryAt(directories, 'link').target, 'sub/file')
    const stats = lstatSync(taking.at('b'), { bigint: true })
    assert.deepEqual(entryAt(directories, 'b'), {
      name: 'b',
      type: 'f',
      id: inodeIdOf(stats),
      mode: 0o644,
      stamp: { sizeBytes: 1, mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs },
    })
  })

  it('shows placeholders as their records say', async (t) => {
    const taking = new Taking(t)
    const staging = tempDir(t)
    await createPlaceholders(
      taking.dir,
      [
        { type: 'f', name: 'remote', record: record({}) },
        { type: 'd', name: 'unlisted', record: record({ kind: 'directory', mode: 0o700 }) },
      ],
      { staging },
    )
    const { directories } = taking.taker.atOnce(true)
    const file = entryAt(directories, 'remote')
    assert.deepEqual(file.record, readRecord(taking.at('remote')))
    const { ctimeNs } = lstatSync(taking.at('remote'), { bigint: true })
    assert.equal(file.mode, 0o640)
    assert.deepEqual(file.stamp, { sizeBytes: 12345, mtimeNs: 5n, ctimeNs })
    const unlisted = entryAt(directories, 'unlisted')
    assert.equal(unlisted.record?.kind, 'directory')
    assert.deepEqual([unlisted.mode, unlisted.stamp.mtimeNs], [0o700, 5n])
    assert.deepEqual(names(directories), ['remote', 'unlisted'])
    await clearUnlisted(taking.at('unlisted'))
    assert.equal(taking.taker.atOnce(true).directories.length, 2)
  })

  it('says what is wrong with a damaged record, and does not look into such a directory', (t) => {
    const taking = new Taking(t)
    taking.write('file')
    taking.write('dir/hidden')
    for (const name of ['file', 'dir']) {
      lsetxattr(taking.at(name), RECORD_XATTR, Uint8Array.of(1, 2, 3))
    }
    const { directories } = taking.taker.atOnce(true)
    assert.deepEqual(names(directories), ['dir', 'file'])
    for (const name of ['file', 'dir']) {
      const { damage, record: none } = entryAt(directories, name)
      assert.match(damage ?? '', /malformed/)
      assert.equal(none, undefined)
    }
  })

  it('is empty while the root itself is not listed yet', (t) => {
    const taking = new Taking(t)
    lsetxattr(taking.dir, RECORD_XATTR, Uint8Array.of(1))
    assert.deepEqual(taking.taker.atOnce(true).directories, [])
  })

  it('keeps names that are not UTF-8 as bytes, and goes into such directories', (t) => {
    const taking = new Taking(t)
    const odd = Buffer.from([0x64, 0xff])
    mkdirSync(Buffer.concat([Buffer.from(`${taking.dir}/`), odd]))
    writeFileSync(Buffer.concat([Buffer.from(`${taking.dir}/`), odd, Buffer.from('/file')]), 'x')
    symlinkSync(odd, taking.at('link'))
    const { directories } = taking.taker.atOnce(true)
    assert.deepEqual(
      directories.map(({ path }) => path),
      ['', new Uint8Array(odd)],
    )
    assert.deepEqual(
      directories[0]?.entries.map(({ name }) => name),
      [new Uint8Array(odd), 'link'],
    )
    assert.deepEqual(entryAt(directories, 'link').target, new Uint8Array(odd))
    assert.equal(directories[1]?.entries[0]?.name, 'file')
  })

  it('follows no link out of the tree', (t) => {
    const taking = new Taking(t)
    const outside = tempDir(t)
    writeFileSync(join(outside, 'secret'), '')
    symlinkSync(outside, taking.at('way'))
    taking.changes.mark('way', false)
    assert.deepEqual(names(taking.taker.atOnce(false).directories), ['way'])
    assert.deepEqual(names(taking.taker.atOnce(true).directories), ['way'])
  })

  it('leaves a directory that cannot be listed changed, and lists the others', (t) => {
    const taking = new Taking(t)
    for (const path of ['bad/file', 'bad/sub/file', 'good/file']) {
      taking.write(path)
      taking.changes.mark(dirname(path), path === 'bad/sub/file')
    }
    const bad = taking.id('bad/file').ino
    taking.onFile = (ino) => {
      if (ino === bad) {
        throw new Error('the disk is broken here')
      }
    }
    const listed = (all: boolean) => {
      const { number, directories } = taking.taker.atOnce(all)
      taking.changes.committed(number, [])
      return directories.map(({ path }) => path)
    }
    assert.deepEqual(listed(false), ['', 'good'])
    assert.ok(taking.log.some((line) => line.includes('the disk is broken here')))
    assert.deepEqual(listed(true), ['', 'good'])
    taking.onFile = () => undefined
    const { directories } = taking.taker.atOnce(false)
    assert.deepEqual(
      directories.map(({ path, explicit }) => [path, explicit]),
      [
        ['', false],
        ['bad', false],
        ['bad/sub', true],
      ],
    )
  })

  it('drops what the log names and no directory holds, and only when it saw everything', (t) => {
    const taking = new Taking(t, (dir) => {
      writeFileSync(join(dir, 'there'), '')
      const there = inodeIdOf(lstatSync(join(dir, 'there'), { bigint: true }))
      return [there, { ino: 1n, btimeNs: 1n }]
    })
    taking.changes.mark('', false)
    taking.taker.atOnce(false)
    assert.deepEqual(taking.vanished, [])
    taking.taker.atOnce(true)
    assert.deepEqual(taking.vanished, [{ ino: 1n, btimeNs: 1n }])
  })
})

describe('a listing in turns', () => {
  it('has a file that moved between two listings', async (t) => {
    const taking = new Taking(t)
    taking.write('a/one')
    taking.write('b/two')
    const one = taking.id('a/one').ino
    let moved = false
    taking.onFile = (ino) => {
      if (!moved) {
        moved = true
        // From the directory that comes later into the one that is being listed.
        renameSync(
          taking.at(ino === one ? 'b/two' : 'a/one'),
          taking.at(ino === one ? 'a/moved' : 'b/moved'),
        )
      }
    }
    const { directories } = await taking.taker.inTurns()
    const expected = existsSync(taking.at('a/moved')) ? ['a/moved', 'a/one'] : ['b/moved', 'b/two']
    assert.deepEqual(names(directories), ['a', 'b', ...expected])
  })

  it('has a directory that was renamed, where it is now, with what is in it', async (t) => {
    const taking = new Taking(t)
    taking.write('a/file')
    taking.write('b/deep/file')
    const inA = taking.id('a/file').ino
    taking.onFile = (ino) => {
      taking.onFile = () => undefined
      const [from, to] = ino === inA ? ['b/deep', 'a/deep'] : ['a', 'b/deep/a']
      renameSync(taking.at(from), taking.at(to))
    }
    const { directories } = await taking.taker.inTurns()
    for (const path of names(directories)) {
      assert.ok(existsSync(taking.at(path)), path)
    }
    assert.equal(names(directories).length, 5)
  })

  it('shows no link without the file that came before it, even if nothing stands still', async (t) => {
    const taking = new Taking(t)
    // Of two directories the later name is listed first.
    taking.write('blobs/0')
    taking.write('a-links/0')
    let count = 0
    taking.onFile = () => {
      count += 1
      writeFileSync(taking.at(`blobs/blob-${count}`), '')
      symlinkSync(`../blobs/blob-${count}`, taking.at(`a-links/link-${count}`))
    }
    const { directories } = await taking.taker.inTurns()
    assert.ok(taking.log.some((line) => line.includes('changed all the time')))
    const listed = new Set(names(directories))
    const links = [...listed].filter((path) => path.startsWith('a-links/link-'))
    assert.ok(links.length > 0)
    for (const link of links) {
      assert.ok(listed.has(link.replace('a-links/link-', 'blobs/blob-')), link)
    }
  })

  it('lets others have their turn', async (t) => {
    const taking = new Taking(t)
    for (let count = 0; count < 3000; count += 1) {
      taking.write(`d${count % 30}/${count}`)
    }
    let turns = 0
    let over = false
    const count = () => {
      if (!over) {
        turns += 1
        setImmediate(count)
      }
    }
    count()
    const { directories } = await taking.taker.inTurns()
    over = true
    assert.equal(directories.length, 31)
    assert.ok(turns > 1)
  })

  it('tells which files and directories lost their last name', async (t) => {
    const taking = new Taking(t)
    taking.write('dir/file')
    taking.write('kept')
    const [dir, file] = [taking.id('dir'), taking.id('dir/file')]
    taking.withObject = new Set([file.ino, taking.id('kept').ino])
    taking.nameless = [file]
    await taking.taker.inTurns()
    assert.deepEqual(taking.gone, [])
    rmSync(taking.at('dir'), { recursive: true })
    await taking.taker.inTurns()
    assert.deepEqual(taking.gone.map(inodeKey).toSorted(), [dir, file].map(inodeKey).toSorted())
  })

  it('ends when the store is closed, and leaves no directory open', async (t) => {
    const taking = new Taking(t)
    taking.write('a/file')
    const closing: Promise<void>[] = []
    taking.onFile = () => closing.push(taking.taker.close())
    await assert.rejects(taking.taker.inTurns(), { code: 'engine-gone' })
    await Promise.all(closing)
    assert.deepEqual(openBelow(`${taking.dir}/`), [])
  })
})
