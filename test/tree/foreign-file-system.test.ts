import assert from 'node:assert/strict'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { describe, it, type TestContext } from 'node:test'
import { FORGET_COPIED_MOUNTS, has, runOk, scrubbedEnvironment, tempDir } from '../support/index.ts'

const script = join(import.meta.dirname, 'in-file-system.ts')

/** What the script prints, with a file system of this kind at a new folder, seen by it alone. */
async function inFileSystem(t: TestContext, kind: string, options: string, what: string) {
  const dir = tempDir(t)
  const mount = `${FORGET_COPIED_MOUNTS}
    mount -t ${kind} -o ${options} none "$1" && exec "$2" "$3" "$4" "$1"`
  const { stdout } = await runOk(
    'unshare',
    ['-m', '--propagation', 'private', 'sh', '-c', mount, 'sh', dir, execPath, script, what],
    { env: scrubbedEnvironment(join(dir, 'home')) },
  )
  return JSON.parse(stdout)
}

describe('a full disk', () => {
  it('costs no row that was written after it was freed', async (t) => {
    if (!has(t, 'root')) {
      return
    }
    assert.deepEqual(await inFileSystem(t, 'tmpfs', 'size=48m', 'full-disk'), {
      errno: 'ENOSPC',
      second: 'ENOSPC',
      readable: true,
      lost: 0,
      kept: true,
    })
  })
})

describe('a file system without attributes', () => {
  it('has no placeholders, and says so; nothing else minds', async (t) => {
    if (!has(t, 'root')) {
      return
    }
    assert.deepEqual(await inFileSystem(t, 'ramfs', 'mode=700', 'no-xattr'), {
      errno: 'EOPNOTSUPP',
      record: null,
      name: { localOnly: false },
    })
  })
})
