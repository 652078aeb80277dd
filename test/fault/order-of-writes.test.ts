import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { provideDebianPackage } from '../support/debian-package.ts'
import {
  has,
  type Mount,
  modelcacheOk,
  start,
  tempDir,
  waitFor,
  withMount,
} from '../support/index.ts'

const MIB = 1024 * 1024
/** Everything that changes what is on disk or makes it durable. */
const CALLS =
  'openat,open,write,pwrite64,pwritev,writev,rename,renameat,renameat2,linkat,link,fsync,fdatasync,syncfs,' +
  'fremovexattr,removexattr,lremovexattr,ftruncate,unlink,unlinkat'

/** One system call that succeeded. */
interface Call {
  readonly name: string
  readonly text: string
  /** Of the descriptor or of the names, relative to the store. */
  readonly paths: readonly string[]
}

/** The calls of a trace, in the order in which they ended; unfinished ones are put together. */
function callsOf(trace: string, store: string): Call[] {
  const begun = new Map<string, string>()
  const calls: Call[] = []
  for (const line of trace.split('\n')) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (rest.endsWith('<unfinished ...>')) {
      begun.set(pid, rest.slice(0, -'<unfinished ...>'.length))
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)
    const text = resumed === null ? rest : `${begun.get(pid) ?? ''}${resumed[1]}`
    const [, name = ''] = /^(\w+)\(.*\) += (?!-1)/.exec(text) ?? []
    if (name !== '') {
      const paths = [...text.matchAll(/<(\/[^>]*)>|"(\/[^"]*)"/g)]
        .map((match) => relative(store, match[1] ?? match[2] ?? ''))
        .filter((path) => !path.startsWith('..'))
      calls.push({ name, text, paths })
    }
  }
  return calls
}

/** Traces the daemon while `use` runs. */
async function traced(t: TestContext, mount: Mount, use: () => Promise<void>): Promise<Call[]> {
  const file = join(await tempDir(t), 'trace')
  const { pid } = await mount.status()
  const words = ['-f', '-y', '-s', '512', '-xx', '-e', `trace=${CALLS}`, '-o', file, '-p', `${pid}`]
  const strace = start('strace', words, { env: mount.env, deadlineMs: 120_000 })
  t.after(() => strace.kill())
  await waitFor('strace to be attached', () =>
    /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
  )
  await use()
  process.kill(strace.pid, 'SIGINT')
  await strace.finished
  // Everything is in hex, so that bytes can be looked for; names are put back into words.
  const text = (hex: string) => Buffer.from(hex.replaceAll('\\x', ''), 'hex').toString('latin1')
  const trace = readFileSync(file, 'latin1')
    .replaceAll(/<((?:\\x[0-9a-f]{2})+)>/g, (_, hex) => `<${text(String(hex))}>`)
    .replaceAll(/"((?:\\x2f)(?:\\x[0-9a-f]{2})*)"/g, (_, hex) => `"${text(String(hex))}"`)
  return callsOf(trace, mount.store)
}

const isSync = ({ name }: Call) => ['fsync', 'fdatasync', 'syncfs'].includes(name)

/** The first call from `start` on that is so; -1 where there is none. */
function indexOf(calls: readonly Call[], start: number, test: (call: Call) => boolean): number {
  const found = calls.slice(start).findIndex(test)
  return found === -1 ? -1 : start + found
}

describe('the order of writes', () => {
  it('of the daemon: nothing says of something that it is there before it is', async (t) => {
    if (!has(t, 'fuse', 'root')) return
    const missing = await provideDebianPackage('strace')
    if (missing !== undefined) return t.skip(missing)
    const origin = await withMount(t)
    mkdirSync(join(origin.mountpoint, 'dir'))
    writeFileSync(join(origin.mountpoint, 'dir/remote'), Buffer.alloc(2 * MIB + 9, 'remote '))
    const { root } = await origin.commitAll()
    const { address } = await origin.share()
    const mount = await withMount(t, {
      engine: 'native',
      args: ['--from', root, '--peer', address],
    })
    const at = (path: string) => join(mount.mountpoint, path)
    const inodes = new Map<string, bigint>()
    const calls = await traced(t, mount, async () => {
      readFileSync(at('dir/remote'))
      writeFileSync(at('large'), Buffer.alloc(2 * MIB + 1, 'large '))
      for (const name of ['a', 'b']) {
        writeFileSync(at(`dir/${name}.new`), `content ${name}`)
        renameSync(at(`dir/${name}.new`), at(`dir/${name}`))
      }
      await mount.commitAll()
      for (const name of ['large', 'dir/a', 'dir/b']) {
        inodes.set(name, lstatSync(join(mount.store, 'tree', name), { bigint: true }).ino)
      }
      rmSync(at('dir/a'))
      await mount.commitAll()
      await mount.share()
      await modelcacheOk(['pin', mount.mountpoint, '--root', root], mount)
    })
    assert.ok(calls.length > 100, `${calls.length} calls were traced`)
    checkDurableFiles(calls)
    checkCommits(calls)
    checkRows(calls, inodes)
    checkCompletion(calls)
  })
})

/** A file of the store is synced before it has its name, and the folder after. */
function checkDurableFiles(calls: readonly Call[]): void {
  const renames = calls
    .map((call, index) => ({ call, index }))
    .filter(({ call }) => call.name.startsWith('rename'))
    .filter(({ call }) => /^\.[\w-]+\.[\w.]+\.tmp$/.test(call.paths[0] ?? ''))
  assert.ok(renames.length >= 2, 'the share and the pin are written')
  for (const { call, index } of renames) {
    const [from = '', to = ''] = call.paths
    const written = indexOf(calls, 0, (one) => one.name.includes('write') && one.paths[0] === from)
    const synced = calls.findLastIndex(
      (one, at) => at < index && isSync(one) && one.paths[0] === from,
    )
    assert.ok(written !== -1 && synced > written, `${to}: synced before it was renamed`)
    const folder = indexOf(
      calls,
      index,
      (one) => isSync(one) && one.paths[0] === dirname(to).replace(/^\.$/, ''),
    )
    assert.ok(folder !== -1, `${to}: its folder is synced after it was renamed`)
  }
}

/** Every block that was written is durable, and so is its folder, before the log has the root. */
function checkCommits(calls: readonly Call[]): void {
  const appended = calls
    .map((call, index) => ({ call, index }))
    .filter(({ call }) => call.name.includes('write') && call.paths[0] === 'commits')
  assert.ok(appended.length >= 2, 'two roots')
  for (const { index } of appended) {
    for (const [at, call] of calls.slice(0, index).entries()) {
      const to = call.paths[1] ?? ''
      if (call.name.startsWith('rename') && to.startsWith('nodes/')) {
        const durable = (path: string) =>
          calls.findLastIndex(
            (one, other) =>
              other < index && isSync(one) && (one.name === 'syncfs' || one.paths[0] === path),
          ) > at
        assert.ok(durable(to), `${to} is durable before the root`)
        assert.ok(durable(dirname(to)), `and so is its name`)
      }
    }
    const synced = indexOf(calls, index, (one) => isSync(one) && one.paths[0] === 'commits')
    assert.ok(synced !== -1, 'the log is synced')
  }
}

/** A file is durable before the table calls it clean. */
function checkRows(calls: readonly Call[], inodes: ReadonlyMap<string, bigint>): void {
  for (const [path, ino] of inodes) {
    const bytes = Buffer.from('!file!').toString('hex') + ino.toString(16).padStart(16, '0')
    const row = (bytes.match(/../g) ?? []).map((byte) => `\\x${byte}`).join('')
    const written = indexOf(
      calls,
      0,
      (one) => /^db\/\d+\.log$/.test(one.paths[0] ?? '') && one.text.includes(row),
    )
    assert.ok(written !== -1, `${path}: its row is in the log of the database`)
    const synced = indexOf(calls, 0, (one) => isSync(one) && one.text.includes(`${path}>`))
    const byInode = indexOf(
      calls,
      0,
      (one) => isSync(one) && one.paths.some((name) => name.endsWith(path)),
    )
    const first = [synced, byInode].filter((index) => index !== -1).toSorted((a, b) => a - b)[0]
    assert.ok(first !== undefined && first < written, `${path}: durable before its row`)
  }
}

/** Fetched bytes are durable before the map has them, and before the file is complete. */
function checkCompletion(calls: readonly Call[]): void {
  const isOf = (one: Call) => one.text.includes('dir/remote>')
  const lastWrite = calls.findLastIndex((one) => one.name === 'pwrite64' && isOf(one))
  const synced = indexOf(calls, lastWrite, (one) => isSync(one) && isOf(one))
  const cleared = indexOf(calls, 0, (one) => one.name === 'fremovexattr' && isOf(one))
  assert.ok(lastWrite !== -1 && synced !== -1 && synced < cleared, 'data, then the record goes')
  const after = indexOf(calls, cleared, (one) => isSync(one) && isOf(one))
  assert.ok(after !== -1, 'and that is synced as well')
}
