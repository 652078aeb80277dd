import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { errnoOf, isErrno, ModelcacheError } from '../../src/base/index.ts'

describe('errnoOf', () => {
  const table: [string, unknown, string][] = [
    ['our own errno', new ModelcacheError('x', { code: 'full', errno: 'ENOSPC' }), 'ENOSPC'],
    [
      'the errno of a cause',
      new ModelcacheError('x', {
        code: 'y',
        cause: Object.assign(new Error(), { code: 'EDQUOT' }),
      }),
      'EDQUOT',
    ],
    ['a code of ours without errno', new ModelcacheError('x', { code: 'y' }), 'EIO'],
    ["Node's own error code", Object.assign(new Error(), { code: 'ERR_INVALID_ARG_TYPE' }), 'EIO'],
    ['a cancelled call', new DOMException('x', 'AbortError'), 'EINTR'],
    ['a timeout', new DOMException('x', 'TimeoutError'), 'EIO'],
    ['something that is no error', 'text', 'EIO'],
    ['nothing', undefined, 'EIO'],
  ]
  for (const [what, error, errno] of table) {
    it(`gives ${errno} for ${what}`, () => assert.equal(errnoOf(error), errno))
  }

  it('passes on what the system said', async () => {
    const error = await readFile('/nonexistent').catch((reason: unknown) => reason)
    assert.equal(errnoOf(error), 'ENOENT')
    assert.ok(isErrno(error, 'ENOENT', 'EPERM'))
    assert.ok(!isErrno(error, 'EPERM'))
  })
})
