import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { O_PATH, openBeneath, openByComponents } from '../../src/base/index.ts'
import { tempDir } from '../support/index.ts'

function tree(t: TestContext): { dir: string; fd: number } {
  const dir = tempDir(t)
  mkdirSync(join(dir, 'a/b'), { recursive: true })
  writeFileSync(join(dir, 'a/b/file'), 'content')
  symlinkSync('b', join(dir, 'a/link'))
  const fd = openSync(dir, O_PATH | constants.O_DIRECTORY)
  t.after(() => closeSync(fd))
  return { dir, fd }
}

for (const open of [openBeneath, openByComponents]) {
  describe(open.name, () => {
    const opened = <T>(dirFd: number, path: string, flags: number, look: (fd: number) => T): T => {
      const fd = open(dirFd, path, flags)
      try {
        return look(fd)
      } finally {
        closeSync(fd)
      }
    }

    it('opens a file, a directory, a link itself and the top', (t) => {
      const { dir, fd } = tree(t)
      const place = (at: number) => readlinkSync(`/proc/self/fd/${at}`)
      assert.equal(
        opened(fd, 'a/b/file', constants.O_RDONLY, (at) => readFileSync(at, 'utf8')),
        'content',
      )
      assert.equal(opened(fd, 'a/b', O_PATH, place), join(dir, 'a/b'))
      assert.ok(opened(fd, 'a/link', O_PATH, (at) => fstatSync(at).isSymbolicLink()))
      assert.equal(opened(fd, '', O_PATH, place), dir)
    })

    for (const [path, flags, errno] of [
      ['a/link/file', constants.O_RDONLY, 'ELOOP'],
      ['a/link', constants.O_RDONLY, 'ELOOP'],
      ['../outside', constants.O_RDONLY, 'EXDEV'],
      ['/etc', O_PATH, 'EXDEV'],
      ['a/none', constants.O_RDONLY, 'ENOENT'],
      ['a/b/file/x', constants.O_RDONLY, 'ENOTDIR'],
    ] as const) {
      it(`refuses ${path} with ${errno}`, (t) => {
        const { fd } = tree(t)
        // By components a link on the way is simply no directory.
        const errnos = path === 'a/link/file' ? [errno, 'ENOTDIR'] : [errno]
        assert.throws(
          () => open(fd, path, flags),
          (error: NodeJS.ErrnoException) => errnos.includes(error.code ?? ''),
        )
      })
    }

    it('opens what is deeper than PATH_MAX', (t) => {
      const { dir, fd } = tree(t)
      let deep = 'a'
      try {
        while (deep.length < 9000) {
          const name = 'd'.repeat(200)
          opened(fd, deep, O_PATH, (at) => mkdirSync(`/proc/self/fd/${at}/${name}`))
          deep += `/${name}`
        }
        assert.ok(opened(fd, deep, O_PATH, (at) => fstatSync(at).isDirectory()))
        assert.ok(opened(fd, deep, constants.O_DIRECTORY, (at) => fstatSync(at).isDirectory()))
      } finally {
        // Node's own rm cannot.
        spawnSync('rm', ['-rf', join(dir, 'a')])
      }
    })
  })
}
