import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decideGate, type GateMode, requireOpenGate } from '../../src/config/index.ts'

type Row = [mode: GateMode, env: Record<string, string>, open: boolean, by: string]

const ROWS: Row[] = [
  ['auto', {}, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: '1' }, false, 'IPFS_KIT_DISABLE=1'],
  ['auto', { IPFS_KIT_DISABLE: 'true' }, false, 'IPFS_KIT_DISABLE=true'],
  ['auto', { IPFS_KIT_DISABLE: 'YES' }, false, 'IPFS_KIT_DISABLE=YES'],
  ['auto', { IPFS_KIT_DISABLE: 'on' }, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: '0' }, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: '' }, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: ' 1' }, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: '1\n' }, true, 'default'],
  ['auto', { STORAGE_FORCE_LOCAL: 'True' }, false, 'STORAGE_FORCE_LOCAL=True'],
  ['auto', { STORAGE_FORCE_LOCAL: 'on' }, true, 'default'],
  ['auto', { CI: '1' }, false, 'CI=1'],
  ['auto', { CI: 'false' }, false, 'CI=false'],
  ['auto', { CI: '0' }, false, 'CI=0'],
  ['auto', { CI: ' ' }, false, 'CI= '],
  ['auto', { CI: '' }, true, 'default'],
  ['auto', { IPFS_KIT_DISABLE: 'yes', CI: '1' }, false, 'IPFS_KIT_DISABLE=yes'],
  ['auto', { STORAGE_FORCE_LOCAL: '1', CI: '1' }, false, 'STORAGE_FORCE_LOCAL=1'],
  ['auto', { IPFS_KIT_DISABLE: '1', STORAGE_FORCE_LOCAL: '1' }, false, 'IPFS_KIT_DISABLE=1'],
  ['auto', { IPFS_KIT_DISABLE: '0', STORAGE_FORCE_LOCAL: '1' }, false, 'STORAGE_FORCE_LOCAL=1'],
  ['open', { IPFS_KIT_DISABLE: '1', STORAGE_FORCE_LOCAL: '1', CI: '1' }, true, '--gate open'],
  ['closed', {}, false, '--gate closed'],
]

describe('the gate', () => {
  for (const [mode, env, open, by] of ROWS) {
    it(`--gate ${mode} with ${JSON.stringify(env)} is ${open ? 'open' : 'closed'} by ${by}`, () => {
      assert.deepEqual(decideGate(mode, env), { open, by })
    })
  }

  it('refuses what needs the network with exit code 5, naming what closed it', () => {
    assert.throws(() => requireOpenGate({ open: false, by: 'CI=true' }, 'share'), {
      code: 'gate-closed',
      exitCode: 5,
      message: /^share: the gate is closed by CI=true.*--gate open/,
    })
  })
})
