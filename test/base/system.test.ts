import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import {
  closeOnExec,
  compareBytes,
  directoryEntries,
  fgetxattr,
  fremovexattr,
  fsetxattr,
  futimensNs,
  getxattr,
  getxattrFollowed,
  linkFd,
  listxattr,
  lremovexattr,
  lsetxattr,
  mknod,
  O_PATH,
  openTmpfile,
  raiseDescriptorLimit,
  readLinkOf,
  removexattr,
  renameExchange,
  renameNoReplace,
  setTimesFollowed,
  setxattrFollowed,
  statfsType,
  syncFileSystemOf,
  syncfs,
  utimensatNs,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../src/base/index.ts'
import { tempDir } from '../support/index.ts'

const NAME = 'user.modelcache-test'

function tmpfile(t: TestContext, dir: string): number {
  const fd = openTmpfile(dir, 0o600)
  t.after(() => closeSync(fd))
  return fd
}

describe('extended attributes', () => {
  it('are set, read and removed by descriptor', (t) => {
    const fd = tmpfile(t, tempDir(t))
    assert.equal(fgetxattr(fd, NAME), undefined)
    fsetxattr(fd, NAME, Uint8Array.of(1, 0, 2))
    assert.deepEqual(fgetxattr(fd, NAME), Uint8Array.of(1, 0, 2))
    fremovexattr(fd, NAME)
    fremovexattr(fd, NAME)
    assert.equal(fgetxattr(fd, NAME), undefined)
  })

  it('are read when they are larger than the first guess', (t) => {
    const fd = tmpfile(t, tempDir(t))
    const value = new Uint8Array(2000).fill(7)
    fsetxattr(fd, NAME, value)
    assert.deepEqual(fgetxattr(fd, NAME), value)
  })

  it('are those of the path itself', (t) => {
    const dir = tempDir(t)
    writeFileSync(join(dir, 'file'), '')
    symlinkSync('file', join(dir, 'link'))
    lsetxattr(join(dir, 'file'), NAME, Uint8Array.of(1))
    assert.deepEqual(getxattr(join(dir, 'file'), NAME), Uint8Array.of(1))
    assert.equal(getxattr(join(dir, 'link'), NAME), undefined)
    assert.throws(() => lsetxattr(join(dir, 'link'), NAME, Uint8Array.of(1)), { errno: 'EPERM' })
    lremovexattr(join(dir, 'file'), NAME)
    assert.equal(getxattr(join(dir, 'file'), NAME), undefined)
  })

  it('fail with the name of the error', () => {
    assert.throws(() => getxattr('/nonexistent', NAME), { code: 'ENOENT', errno: 'ENOENT' })
    assert.throws(() => fgetxattr(-1, NAME), { errno: 'EBADF' })
    assert.throws(() => getxattr('/tmp\0x', NAME), { errno: 'EINVAL' })
  })
})

describe('linkFd', () => {
  it('gives a file without a name one, and never replaces another', (t) => {
    const dir = tempDir(t)
    const fd = tmpfile(t, dir)
    assert.deepEqual(readdirSync(dir), [])
    linkFd(fd, join(dir, 'näme'))
    assert.equal(lstatSync(join(dir, 'näme')).ino, fstatSync(fd).ino)
    assert.throws(() => linkFd(fd, join(dir, 'näme')), { errno: 'EEXIST' })
  })
})

describe('times in nanoseconds', () => {
  for (const time of [1_700_000_000_123_456_789n, 0n, -1n, -1_500_000_000n]) {
    it(`keep ${time}`, (t) => {
      const dir = tempDir(t)
      const fd = tmpfile(t, dir)
      futimensNs(fd, time)
      assert.equal(fstatSync(fd, { bigint: true }).mtimeNs, time)
      const link = join(dir, 'link')
      symlinkSync('nowhere', link)
      utimensatNs(link, time)
      assert.equal(lstatSync(link, { bigint: true }).mtimeNs, time)
    })
  }
})

describe('renames', () => {
  it('exchange two names, and refuse to replace one', (t) => {
    const dir = tempDir(t)
    const [a, b] = [join(dir, 'a'), join(dir, 'b')]
    writeFileSync(a, 'A')
    writeFileSync(b, 'B')
    renameExchange(a, b)
    assert.equal(readFileSync(a, 'utf8') + readFileSync(b, 'utf8'), 'BA')
    assert.throws(() => renameNoReplace(a, b), { errno: 'EEXIST' })
    renameNoReplace(a, join(dir, 'c'))
    assert.deepEqual(readdirSync(dir).sort(), ['b', 'c'])
  })
})

describe('the file system', () => {
  it('is synced through any descriptor', async (t) => {
    const dir = tempDir(t)
    await syncfs(tmpfile(t, dir))
    await syncFileSystemOf(dir)
    await assert.rejects(syncfs(-1), { errno: 'EIO' })
  })

  it('has a name', async () => {
    assert.equal(await statfsType('/proc'), '0x9fa0')
    assert.match(await statfsType('/var/tmp'), /^[a-z0-9]+$/)
  })
})

describe('attributes as programs ask for them', () => {
  it('are listed, made and replaced by flag, and missed with ENODATA', (t) => {
    const path = join(tempDir(t), 'file')
    writeFileSync(path, '')
    lsetxattr(path, NAME, Uint8Array.of(1), XATTR_CREATE)
    assert.throws(() => lsetxattr(path, NAME, Uint8Array.of(2), XATTR_CREATE), { errno: 'EEXIST' })
    lsetxattr(path, NAME, Uint8Array.of(3), XATTR_REPLACE)
    assert.deepEqual(listxattr(path, false), [NAME])
    removexattr(path, NAME, false)
    assert.throws(() => removexattr(path, NAME, false), { errno: 'ENODATA' })
    assert.deepEqual(listxattr(path, false), [])
  })

  it('and times are reached through a descriptor that is only a place', (t) => {
    const path = join(tempDir(t), 'file')
    writeFileSync(path, '')
    const fd = openSync(path, O_PATH)
    t.after(() => closeSync(fd))
    const link = `/proc/self/fd/${fd}`
    setxattrFollowed(link, NAME, Uint8Array.of(7))
    assert.deepEqual(getxattrFollowed(link, NAME), Uint8Array.of(7))
    assert.deepEqual(listxattr(link, true), [NAME])
    // As struct timespec: a second before 1970 and some nanoseconds; the mtime after it.
    setTimesFollowed(link, new Uint8Array(new BigInt64Array([-1n, 7n, 0n, 5n]).buffer))
    const { mtimeNs, atimeNs } = lstatSync(path, { bigint: true })
    assert.deepEqual([mtimeNs, atimeNs], [5n, -999_999_993n])
  })

  it('tell the target of a link by its descriptor, whatever its name', (t) => {
    const base = tempDir(t)
    symlinkSync('where it leads', join(base, 'link'))
    const fd = openSync(join(base, 'link'), O_PATH | constants.O_NOFOLLOW)
    t.after(() => closeSync(fd))
    renameSync(join(base, 'link'), join(base, 'renamed'))
    assert.equal(readLinkOf(fd).toString(), 'where it leads')
    const directory = openSync(base, O_PATH)
    t.after(() => closeSync(directory))
    assert.throws(() => readLinkOf(directory), { errno: 'ENOENT' })
  })
})

describe('the entries of a directory', () => {
  it('have names as bytes, inode numbers and types', (t) => {
    const base = tempDir(t)
    const name = Buffer.from([0x6e, 0xff])
    writeFileSync(Buffer.concat([Buffer.from(`${base}/`), name]), '')
    mkdirSync(join(base, 'd'))
    const fd = openSync(base, constants.O_RDONLY)
    t.after(() => closeSync(fd))
    const entries = directoryEntries(fd).toSorted((a, b) => compareBytes(a.name, b.name))
    const expected = [
      { name: Buffer.from('d\0'), ino: lstatSync(join(base, 'd'), { bigint: true }).ino, type: 4 },
      {
        name: Buffer.concat([name, Buffer.of(0)]),
        ino: lstatSync(Buffer.concat([Buffer.from(`${base}/`), name]), { bigint: true }).ino,
        type: 8,
      },
    ]
    assert.deepEqual(
      entries.map(({ name: bytes, ...rest }) => ({ name: Buffer.from(bytes), ...rest })),
      expected,
    )
  })
})

describe('descriptors', () => {
  it('are as many as the hard limit allows, and are closed in children where that is asked for', (t) => {
    const { now, before } = raiseDescriptorLimit()
    assert.ok(now >= before)
    const fd = openSync(tempDir(t), O_PATH)
    t.after(() => closeSync(fd))
    closeOnExec(fd)
    assert.throws(() => closeOnExec(-1), { errno: 'EBADF' })
  })
})

describe('mknod', () => {
  it('makes a fifo', (t) => {
    const path = join(tempDir(t), 'fifo')
    mknod(path, constants.S_IFIFO | 0o600, 0)
    assert.ok(lstatSync(path).isFIFO())
    assert.throws(() => mknod(path, constants.S_IFIFO | 0o600, 0), { errno: 'EEXIST' })
  })
})
