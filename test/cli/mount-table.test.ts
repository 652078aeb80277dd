import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  fuseMounts,
  mountedOn,
  mountOf,
  mountsBelow,
  parseMountTable,
} from '../../src/cli/mount-table.ts'

const TABLE = parseMountTable(
  [
    '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    '30 22 0:52 / /srv/m rw,nosuid,nodev - fuse.modelcache modelcache\\043/stores/a rw,user_id=0',
    '31 22 0:53 / /srv/with\\040space\\134\\303\\274 rw - fuse.modelcache modelcache#/b\\040c rw',
    '32 30 0:54 / /srv/m/inner rw shared:2 master:3 - tmpfs none rw',
    '33 22 0:55 / /srv/other rw - fuse.sshfs host:/ rw',
    '34 22 0:56 / /srv/stacked rw - fuse.modelcache modelcache#/old rw',
    '35 34 0:57 / /srv/stacked rw - fuse.modelcache modelcache#/new rw',
    '36 22 0:58 / /srv/covered rw - fuse.modelcache modelcache#/covered rw',
    '37 36 0:59 / /srv/covered rw - tmpfs none rw',
    '',
  ].join('\n'),
)

describe('the table of mounts', () => {
  it('finds ours, with blanks, backslashes and UTF-8 in their names', () => {
    assert.deepEqual(
      fuseMounts(TABLE).map(({ mountpoint, store }) => [mountpoint, store]),
      [
        ['/srv/m', '/stores/a'],
        ['/srv/with space\\ü', '/b c'],
        ['/srv/stacked', '/new'],
      ],
    )
  })

  it('gives what is on top of a mountpoint', () => {
    assert.equal(mountedOn(TABLE, '/srv/stacked')?.source, 'modelcache#/new')
    assert.equal(mountedOn(TABLE, '/srv/covered')?.type, 'tmpfs')
    assert.equal(mountedOn(TABLE, '/srv'), undefined)
  })

  it('gives the mount that holds a path', () => {
    assert.equal(mountOf(TABLE, '/srv/m/hub/x')?.mountpoint, '/srv/m')
    assert.equal(mountOf(TABLE, '/srv/m/inner/x')?.mountpoint, '/srv/m/inner')
    assert.equal(mountOf(TABLE, '/srv/mm')?.mountpoint, '/')
    assert.equal(mountOf(TABLE, '/srv/stacked/x')?.source, 'modelcache#/new')
  })

  it('gives the mounts inside one', () => {
    assert.deepEqual(
      mountsBelow(TABLE, '/srv/m').map(({ mountpoint }) => mountpoint),
      ['/srv/m/inner'],
    )
  })
})
