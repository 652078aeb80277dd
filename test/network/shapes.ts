import { createHash } from 'node:crypto'
import { chmod, lstat, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { utimensatNs } from '../../src/base/index.ts'
import { content, MIB } from './content.ts'

/** The large file of the shapes, which nobody should fetch to look at it. */
export const BIG = { path: 'big/model.safetensors', sizeBytes: 64 * MIB } as const

const MAKERS: Readonly<Record<string, (at: string) => Promise<void>>> = {
  sizes: makeSizes,
  directories: makeDirectories,
  links: makeLinks,
  modes: makeModes,
  names: makeNames,
  times: makeTimes,
  'three hundred': (at) => makeEntries(at, 300),
  'ten thousand': (at) => makeEntries(at, 10_000),
  big: (at) => writeFile(join(at, 'model.safetensors'), content(BIG.sizeBytes, BIG.path)),
}

/** Every kind of name that has to arrive elsewhere as it was, each name with its own mtime. */
export async function makeShapes(directory: string): Promise<void> {
  for (const [name, make] of Object.entries(MAKERS)) {
    await mkdir(join(directory, name))
    await make(join(directory, name))
  }
  await setTimes(directory, '')
  await makeSpecialTimes(join(directory, 'times'))
}

async function makeSizes(at: string): Promise<void> {
  const sizes = {
    empty: 0,
    one: 1,
    'chunk minus one': MIB - 1,
    chunk: MIB,
    'chunk plus one': MIB + 1,
    'three chunks and seven': 3 * MIB + 7,
  }
  for (const [name, sizeBytes] of Object.entries(sizes)) {
    await writeFile(join(at, name), content(sizeBytes, name))
  }
}

async function makeDirectories(at: string): Promise<void> {
  await mkdir(join(at, 'empty'))
  await mkdir(join(at, 'only', 'directories', 'below'), { recursive: true })
  await mkdir(join(at, 'hub', 'models--a--b', 'refs'), { recursive: true })
  await writeFile(join(at, 'hub', 'models--a--b', 'refs', 'main'), 'a'.repeat(40))
}

async function makeLinks(at: string): Promise<void> {
  await mkdir(join(at, 'folder'))
  await writeFile(join(at, 'folder', 'target'), 'what the links lead to\n')
  const links = {
    'to a file': 'folder/target',
    'to a directory': 'folder',
    'to a link': 'to a file',
    up: '../sizes/one',
    dangling: 'nowhere/at all',
    absolute: '/etc/hostname',
    'absolute and dangling': '/no/such/ünïcode 模型',
    'to itself': 'to itself',
    long: `${'a'.repeat(255)}/`.repeat(15),
  }
  for (const [name, target] of Object.entries(links)) await symlink(target, join(at, name))
}

/** Set-id bits are left out: a stranger's file does not become one that runs as its owner. */
async function makeModes(at: string): Promise<void> {
  for (const mode of [0o644, 0o755, 0o700, 0o600, 0o444, 0o000, 0o111, 0o666, 0o777, 0o1644]) {
    const file = join(at, `file ${mode.toString(8)}`)
    await writeFile(file, `${mode}\n`)
    await chmod(file, mode)
  }
  for (const mode of [0o755, 0o700, 0o555, 0o000, 0o1777, 0o770]) {
    const directory = join(at, `directory ${mode.toString(8)}`)
    await mkdir(directory)
    await writeFile(join(directory, 'inside'), `${mode}\n`)
    await chmod(directory, mode)
  }
}

async function makeNames(at: string): Promise<void> {
  const names = [
    'with spaces  and two',
    ' leading',
    'trailing ',
    'trailing.',
    'new\nline',
    'ünïcödé',
    'u\u0308 decomposed',
    '模型 🤗',
    '.hidden',
    '-rf',
    '--model=a@b?c#d%20',
    'quote"s and \\backslash',
    'CASE',
    'case',
    'x'.repeat(255),
    '語'.repeat(85),
  ]
  for (const name of names) await writeFile(join(at, name), `${name}\n`)
  for (const name of ['y'.repeat(255), '型'.repeat(85)]) {
    await mkdir(join(at, name))
    await writeFile(join(at, name, 'inside'), 'seen\n')
  }
}

async function makeEntries(at: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const name = `entry ${String(index).padStart(5, '0')}.json`
    await writeFile(join(at, name), `{"entry": ${index}}\n`)
  }
}

const SPECIAL_TIMES: Readonly<Record<string, bigint>> = {
  'at the epoch': 0n,
  'one nanosecond after it': 1n,
  'one nanosecond before it': -1n,
  'in 1969': -12_345_678_900_000_001n,
  'in 2024': 1_718_000_000_123_456_789n,
  'in 2100': 4_102_444_800_999_999_999n,
}

async function makeTimes(at: string): Promise<void> {
  for (const name of Object.keys(SPECIAL_TIMES)) {
    await writeFile(join(at, name), name)
    await mkdir(join(at, `directory ${name}`))
  }
}

async function makeSpecialTimes(at: string): Promise<void> {
  const own = (await lstat(at, { bigint: true })).mtimeNs
  for (const [name, mtimeNs] of Object.entries(SPECIAL_TIMES)) {
    utimensatNs(join(at, name), mtimeNs)
    utimensatNs(join(at, `directory ${name}`), mtimeNs)
  }
  utimensatNs(at, own)
}

/** Gives every name below, and then the directory itself, a time that its path decides. */
async function setTimes(root: string, relative: string): Promise<void> {
  const path = join(root, relative)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const below = join(relative, entry.name)
    if (entry.isDirectory()) await setTimes(root, below)
    else utimensatNs(join(root, below), timeOf(below))
  }
  utimensatNs(path, timeOf(relative))
}

function timeOf(path: string): bigint {
  const hash = createHash('sha256').update(path).digest()
  return 1_600_000_000_000_000_000n + (hash.readBigUInt64LE() % 100_000_000_000_000_000n)
}
