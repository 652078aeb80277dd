import { createHash } from 'node:crypto'
import { chmod, mkdir, open, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * The files and directories whose CIDs must be Kubo's: the same bytes and names on every machine,
 * written with plain file operations, into a plain directory or into a mount.
 */

const MIB = 1024 * 1024

/** The chunk of the profile unixfs-v1-2025. */
const CHUNK_BYTES = MIB

/** From this size of its block on, the profile shards a directory. */
const SHARD_THRESHOLD_BYTES = 256 * 1024

/** A part of the tree below a directory of its own name. */
export interface Shape {
  name: string
  /** Too many entries to list each one's CID: the directory's says it all. */
  crowded?: boolean
  make(directory: string): Promise<void>
}

export const SHAPES: readonly Shape[] = [
  { name: 'sizes', make: makeSizes },
  { name: 'thousand-leaves', make: makeThousandLeaves },
  { name: 'empty-directory', make: async () => {} },
  { name: 'links', make: makeLinks },
  { name: 'executables', make: makeExecutables },
  { name: 'names', make: makeNames },
  { name: 'three-hundred', crowded: true, make: (at) => makeEntries(at, 300) },
  { name: 'ten-thousand', crowded: true, make: (at) => makeEntries(at, 10_000) },
  {
    name: 'below-threshold',
    crowded: true,
    make: (at) => makeBlockOf(at, SHARD_THRESHOLD_BYTES - 1),
  },
  { name: 'at-threshold', crowded: true, make: (at) => makeBlockOf(at, SHARD_THRESHOLD_BYTES) },
  {
    name: 'above-threshold',
    crowded: true,
    make: (at) => makeBlockOf(at, SHARD_THRESHOLD_BYTES + 1),
  },
  { name: 'hub', make: makeHub },
]

/** Makes every shape below `directory`, which is there and empty. */
export async function makeShapes(directory: string): Promise<void> {
  for (const shape of SHAPES) {
    await mkdir(join(directory, shape.name))
    await shape.make(join(directory, shape.name))
  }
}

async function makeSizes(at: string): Promise<void> {
  const sizes = {
    zero: 0,
    one: 1,
    'chunk-minus-1': CHUNK_BYTES - 1,
    chunk: CHUNK_BYTES,
    'chunk-plus-1': CHUNK_BYTES + 1,
    '3-mib-plus-7': 3 * MIB + 7,
  }
  for (const [name, size] of Object.entries(sizes)) {
    await writeFile(join(at, name), content(size, size + 1))
  }
}

/**
 * One leaf more than a node of the profile has links, so two levels of nodes. Each leaf has its
 * number at its start and a hole after it, so that a gigabyte costs four megabytes of disk.
 */
async function makeThousandLeaves(at: string): Promise<void> {
  const leaves = 1025
  const file = await open(join(at, '1025-leaves'), 'w')
  try {
    await file.truncate((leaves - 1) * CHUNK_BYTES + 4)
    for (let leaf = 0; leaf < leaves; leaf += 1) {
      const number = Buffer.alloc(4)
      number.writeUInt32LE(leaf + 1)
      await file.write(number, 0, number.length, leaf * CHUNK_BYTES)
    }
  } finally {
    await file.close()
  }
}

async function makeLinks(at: string): Promise<void> {
  await mkdir(join(at, 'folder'))
  await writeFile(join(at, 'folder', 'target'), 'what the links lead to\n')
  await symlink('folder/target', join(at, 'to-file'))
  await symlink('folder', join(at, 'to-directory'))
  await symlink('../to-file', join(at, 'folder', 'to-link'))
  await symlink('nowhere/at all', join(at, 'dangling'))
  await symlink('/absolute/ünïcode', join(at, 'absolute'))
  await symlink(`${'a'.repeat(200)}/${'b'.repeat(200)}`, join(at, 'long'))
}

async function makeExecutables(at: string): Promise<void> {
  for (const [name, mode] of Object.entries({ run: 0o755, private: 0o600, readonly: 0o444 })) {
    await writeFile(join(at, name), `#!/bin/sh\necho ${name}\n`)
    await chmod(join(at, name), mode)
  }
}

async function makeNames(at: string): Promise<void> {
  const names = [
    'with spaces and  two',
    ' leading',
    'trailing ',
    'ünïcödé',
    'u\u0308 decomposed',
    '模型 🤗',
    '.hidden',
    '--model=a@b',
    'quote"s and \\backslash',
    'CASE',
    'case',
    'x'.repeat(255),
    '語'.repeat(85),
  ]
  for (const name of names) await writeFile(join(at, name), `${name}\n`)
  await mkdir(join(at, '.hidden directory'))
  await writeFile(join(at, '.hidden directory', 'file'), 'seen\n')
}

async function makeEntries(at: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const name = `entry ${String(index).padStart(5, '0')}.json`
    await writeFile(join(at, name), `{"entry": ${index}}\n`)
  }
}

/**
 * A directory of empty files whose dag-pb block is exactly `sizeBytes` if it is not sharded. A link
 * takes 38 bytes for the CID, 3 and the name, 2 for a size of zero, and 3 for its own head, as
 * long as the name has 128 bytes or more; the node's data takes 4.
 */
async function makeBlockOf(at: string, sizeBytes: number): Promise<void> {
  const linkBytes = 46
  const nameBytes = 200
  const nodeBytes = 4
  const rest = sizeBytes - nodeBytes
  const count = Math.floor(rest / (linkBytes + nameBytes))
  const longer = rest - count * (linkBytes + nameBytes)
  for (let index = 0; index < count; index += 1) {
    const plain = `entry-${String(index).padStart(4, '0')}-`.padEnd(nameBytes, 'x')
    // What is left over goes into the names of the first entries, at most 40 bytes each.
    const extra = Math.max(0, Math.min(40, longer - index * 40))
    await writeFile(join(at, plain + '+'.repeat(extra)), '')
  }
}

/** A repository as huggingface_hub leaves it: blobs named for their hashes, links, refs. */
async function makeHub(at: string): Promise<void> {
  const commit = '89abcdef0123456789abcdef0123456789abcdef'
  const repository = join(at, 'models--tiny--bert')
  const files: Record<string, Buffer> = {
    'config.json': Buffer.from('{"model_type": "bert"}\n'),
    '.gitattributes': Buffer.from('*.onnx filter=lfs\n'),
    'onnx/model.onnx': content(2 * MIB + 3, 11),
  }
  await mkdir(join(repository, 'blobs'), { recursive: true })
  for (const [path, bytes] of Object.entries(files)) {
    const blob = bytes.length > MIB ? sha256(bytes) : gitSha1(bytes)
    const pointer = join(repository, 'snapshots', commit, path)
    await writeFile(join(repository, 'blobs', blob), bytes)
    await mkdir(dirname(pointer), { recursive: true })
    await symlink(`${'../'.repeat(path.split('/').length + 1)}blobs/${blob}`, pointer)
  }
  await mkdir(join(repository, 'refs'))
  await writeFile(join(repository, 'refs', 'main'), commit)
  await mkdir(join(repository, '.no_exist', commit), { recursive: true })
  await writeFile(join(repository, '.no_exist', commit, 'adapter_config.json'), '')
  await writeFile(join(at, 'CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55\n')
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** What git calls the hash of a blob, and the hub the ETag of a small file. */
function gitSha1(bytes: Buffer): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

/** Bytes by xorshift32 from `seed`; no two leaves are alike. */
function content(sizeBytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4))
  let state = seed | 1
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  return Buffer.from(words.buffer, 0, sizeBytes)
}
