import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { findHolders } from '../../src/cli/holders.ts'
import { start, tempDir, waitFor } from '../support/index.ts'

/** What a program does, as sh says it, and how that is named. */
const WAYS: [what: string, script: string, how: RegExp][] = [
  ['its working directory', 'cd "$0/dir"', /^working directory$/],
  ['an open file', 'exec 7< "$0/dir/a file"', /^open file dir\/a file$/],
]

describe('what keeps a mount busy', () => {
  for (const [what, script, how] of WAYS) {
    it(`is found by ${what}`, async (t) => {
      const base = tempDir(t)
      await mkdir(join(base, 'dir'))
      await writeFile(join(base, 'dir/a file'), 'x')
      const words = ['-c', `${script}; echo ready; exec sleep 300`, base]
      const running = start('sh', words, { env: { PATH: process.env.PATH ?? '' } })
      t.after(() => running.kill())
      const one = await waitFor('the program to be found', async () =>
        (await findHolders(base)).find(
          ({ pid, name }) => pid === running.pid && /sleep/.test(name),
        ),
      )
      assert.match(one.how, how)
      assert.deepEqual(await findHolders(join(base, 'other')), [])
    })
  }
})
