import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { lsetxattr, utimensatNs } from '../../src/base/index.ts'
import { encodeRecord, RECORD_XATTR, readRecord } from '../../src/tree/index.ts'
import { blockOf, fakePeer } from '../ipfs/fake-peer.ts'
import { readTree, treeDifferences } from '../support/index.ts'
import { fillAll, followRoot, openFollower } from './follower.ts'
import { openOrigin } from './origin.ts'

const MIB = 1024 * 1024

describe('a tree that is opened from another machine', () => {
  test('arrives as it was, in every shape', async (t) => {
    const origin = await openOrigin(t)
    const tree = origin.paths.tree
    for (const size of [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5]) {
      await writeFile(join(tree, `size-${size}`), randomBytes(size))
    }
    await mkdir(join(tree, 'empty directory'))
    await mkdir(join(tree, 'ünïcode 名前'))
    await writeFile(join(tree, 'ünïcode 名前', 'naïve café.txt'), 'text')
    await writeFile(join(tree, 'run.sh'), '#!/bin/sh\n')
    await chmod(join(tree, 'run.sh'), 0o755)
    await writeFile(join(tree, 'secretive'), 'x'.repeat(100))
    await chmod(join(tree, 'secretive'), 0o400)
    await symlink('../somewhere/else', join(tree, 'dangling'))
    await symlink('run.sh', join(tree, 'link with space'))
    await mkdir(join(tree, 'three hundred'))
    for (let index = 0; index < 300; index += 1) {
      await writeFile(join(tree, 'three hundred', `file ${index}`), `${index}`)
    }
    utimensatNs(join(tree, 'run.sh'), 1_600_000_000_123_456_789n)
    utimensatNs(join(tree, 'dangling'), 1_500_000_000_000_000_001n)
    utimensatNs(join(tree, 'empty directory'), 1_400_000_000_987_654_321n)
    await chmod(join(tree, 'empty directory'), 0o500)
    await chmod(tree, 0o750)
    const { root } = await origin.commit()
    const { address } = await origin.share.open()

    const follower = await openFollower(t, [address])
    await followRoot(follower, root)
    await follower.listAll()
    await fillAll(follower)

    assert.deepEqual(treeDifferences(await readTree(tree), await readTree(follower.at(''))), [])
    for (const entry of await readdir(tree, { recursive: true })) {
      const ours = await lstat(follower.at(entry), { bigint: true })
      const theirs = await lstat(join(tree, entry), { bigint: true })
      assert.equal(ours.mtimeNs, theirs.mtimeNs, entry)
      assert.equal(ours.mode, theirs.mode, entry)
      assert.equal(readRecord(follower.at(entry)), undefined, entry)
    }
    const theirs = await lstat(tree, { bigint: true })
    const ours = await lstat(follower.at(''), { bigint: true })
    assert.deepEqual([ours.mode, ours.mtimeNs], [theirs.mode, theirs.mtimeNs])
  })

  test('has its directories as placeholders until they are listed', async (t) => {
    const origin = await openOrigin(t)
    await mkdir(join(origin.paths.tree, 'a', 'b'), { recursive: true })
    await writeFile(join(origin.paths.tree, 'a', 'file'), 'x'.repeat(5000))
    const { root, tree } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    await follower.list('')
    assert.deepEqual(await readdir(follower.at('')), ['a'])
    assert.deepEqual(await readdir(follower.at('a')), [])
    const record = readRecord(follower.at('a'))
    assert.equal(record?.kind, 'directory')
    assert.ok(record?.commitCid?.equals(root))
    assert.ok((record?.sizeBytes ?? 0) > 5000, 'the size of the DAG, for the next commit')
    const row = await follower.database.directories.get(await follower.id(''))
    assert.ok(row?.cid.equals(tree))
    assert.ok((row?.tsizeBytes ?? 0) > 5000)
    await follower.list('a')
    const file = readRecord(follower.at('a/file'))
    assert.equal(file?.sizeBytes, 5000)
    assert.equal((await lstat(follower.at('a/file'))).size, 5000)
    assert.equal((await lstat(follower.at('a/file'))).blocks, 0)
  })

  test('has ten thousand entries', async (t) => {
    const origin = await openOrigin(t)
    const dir = join(origin.paths.tree, 'many')
    await mkdir(dir)
    for (let index = 0; index < 10_000; index += 1) {
      const name = join(dir, `entry number ${index}`)
      await (index < 200 ? writeFile(name, `content ${index}`) : symlink(`target ${index}`, name))
    }
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    await follower.listAll()
    const names = await readdir(follower.at('many'))
    assert.equal(names.length, 10_000)
    assert.equal(await readlink(follower.at('many/entry number 5000')), 'target 5000')
    assert.equal(readRecord(follower.at('many/entry number 77'))?.sizeBytes, 10)
  })

  test('has empty files complete and clean from the start', async (t) => {
    const origin = await openOrigin(t)
    await writeFile(join(origin.paths.tree, 'empty'), '')
    await chmod(join(origin.paths.tree, 'empty'), 0o444)
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    await follower.list('')
    assert.equal(readRecord(follower.at('empty')), undefined)
    const stats = await lstat(follower.at('empty'), { bigint: true })
    assert.equal(Number(stats.mode) & 0o777, 0o444)
    const row = await follower.database.files.get(await follower.id('empty'))
    assert.equal(row?.stamp.ctimeNs, stats.ctimeNs)
    assert.equal(row?.cid.toString(), 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
  })

  test('can be bare UnixFS: 0644 and 0755, and the time of the mount', async (t) => {
    const origin = await openOrigin(t)
    await mkdir(join(origin.paths.tree, 'd'))
    await writeFile(join(origin.paths.tree, 'd', 'big'), randomBytes(2 * MIB + 3))
    await writeFile(join(origin.paths.tree, 'small'), 'abc', { mode: 0o600 })
    await symlink('small', join(origin.paths.tree, 'link'))
    const { tree } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, tree)
    await follower.listAll()
    await fillAll(follower)
    const mode = async (path: string) => (await lstat(follower.at(path))).mode & 0o777
    assert.deepEqual([await mode('small'), await mode('d')], [0o644, 0o755])
    assert.equal(await readlink(follower.at('link')), 'small')
    const expected = (await readTree(origin.paths.tree)).map(({ path }) => path)
    assert.deepEqual(
      (await readTree(follower.at(''))).map(({ path }) => path),
      expected,
    )
    const sizes = await Promise.all(['d/big', 'small'].map((path) => lstat(follower.at(path))))
    assert.deepEqual(
      sizes.map(({ size }) => size),
      [2 * MIB + 3, 3],
    )
  })
})

describe('listing a directory', () => {
  test('is done once for all who ask at the same time', async (t) => {
    const origin = await openOrigin(t)
    await writeFile(join(origin.paths.tree, 'file'), 'content')
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    const before = follower.network.stats().requests
    await Promise.all(Array.from({ length: 20 }, () => follower.list('')))
    // The directory and its meta block.
    assert.equal(follower.network.stats().requests - before, 2)
    await follower.list('')
    assert.equal(follower.network.stats().requests - before, 2)
  })

  test('goes on where a crash cut it short, and keeps what is there', async (t) => {
    const origin = await openOrigin(t)
    for (const name of ['a', 'b', 'empty']) {
      await writeFile(join(origin.paths.tree, name), name === 'empty' ? '' : name)
    }
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    const record = readRecord(follower.at(''))
    assert.ok(record)
    await follower.list('')
    const kept = await follower.id('a')
    await rm(follower.at('b'))
    lsetxattr(follower.at(''), RECORD_XATTR, encodeRecord(record))
    await follower.list('')
    assert.deepEqual((await readdir(follower.at(''))).sort(), ['a', 'b', 'empty'])
    assert.deepEqual(await follower.id('a'), kept)
    assert.equal(readRecord(follower.at('')), undefined)
  })

  test('leaves out names that no disk can hold', async (t) => {
    const peer = await fakePeer(t)
    const leaf = Buffer.from('x')
    const names = ['..', 'a/b', 'good', 'n'.repeat(256), 'z\0z']
    const data = new UnixFS({ type: 'directory' }).marshal()
    const links = names.map((Name) => ({ Name, Hash: blockOf(0x55, leaf), Tsize: 1 }))
    const bytes = dagPb.encode(dagPb.prepare({ Data: data, Links: links }))
    const cid = blockOf(0x70, bytes)
    peer.blocks.set(cid.toString(), bytes)
    const follower = await openFollower(t, [peer.address])
    await followRoot(follower, cid)
    await follower.list('')
    assert.deepEqual(await readdir(follower.at('')), ['good'])
  })

  test('fails with EIO after the deadline, and works when the peer is back', async (t) => {
    const origin = await openOrigin(t)
    await writeFile(join(origin.paths.tree, 'file'), 'content')
    const { root } = await origin.commit()
    const { address } = await origin.share.open()
    const follower = await openFollower(t, [address], { limits: { deadlineMs: 1_000 } })
    await followRoot(follower, root)
    await origin.share.close()
    await assert.rejects(follower.list(''), { errno: 'EIO' })
    assert.equal(follower.hydrator.stats().errors, 1)
    assert.deepEqual(await readdir(follower.at('')), [])
    await origin.share.open()
    await follower.list('')
    assert.deepEqual(await readdir(follower.at('')), ['file'])
  })

  test('says ESTALE for another directory', async (t) => {
    const follower = await openFollower(t, [])
    await assert.rejects(follower.hydrator.list('nothing', { ino: 1n, btimeNs: 1n }), {
      errno: 'ESTALE',
    })
    await assert.rejects(follower.hydrator.list('', { ino: 1n, btimeNs: 1n }), { errno: 'ESTALE' })
  })

  test('takes a descriptor that somebody else has open', async (t) => {
    const origin = await openOrigin(t)
    await mkdir(join(origin.paths.tree, 'd'))
    await writeFile(join(origin.paths.tree, 'd', 'file'), 'content')
    const { root } = await origin.commit()
    const follower = await openFollower(t, [(await origin.share.open()).address])
    await followRoot(follower, root)
    await follower.list('')
    const id = await follower.id('d')
    const handle = await open(follower.at('d'), 'r')
    try {
      const place = `/proc/${process.pid}/fd/${handle.fd}`
      await follower.hydrator.list('moved/elsewhere', id, { at: place })
    } finally {
      await handle.close()
    }
    assert.deepEqual(await readdir(follower.at('d')), ['file'])
    assert.equal(readRecord(follower.at('d')), undefined)
  })
})
