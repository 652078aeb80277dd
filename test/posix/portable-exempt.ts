import type { Exempt, Exemptions } from './exempt.ts'

const NO_FALLOCATE = 'libfuse 2 as fuse-native binds it has no such request'
const NO_FLAGS = "libfuse 2's rename has no flags: the kernel answers before it asks"

const TWO_NAMES =
  'to libfuse 2 and the kernel each name of a file is a file of its own, with pages and locks of its own'

const REMOVED = 'libfuse 2 has paths only, and what is removed has none'

const ALONE: Exempt = {
  answer: 'another user than the one who mounted gets EACCES for everything in the mount',
  reason:
    'fuse-native does not tell who asks, so that files which others make would not be theirs: ' +
    '`--allow-other` is refused',
  ends: 'PermissionError: [Errno 13]',
}

/** What a name is before a rename: the kinds of test/posix/python/rows_rename.py. */
const KINDS: Readonly<Record<string, (name: string, path: string) => unknown[]>> = {
  missing: () => [],
  file: (name, path) => [[name, '=', `file ${path}`.slice(-20)]],
  empty: (name) => [[name, '/', []]],
  full: (name, path) => [[name, '/', [['x', '=', `in ${path}`.slice(-20)]]]],
  link: (name) => [[name, '->', 'leads nowhere']],
  dirlink: (name) => [[name, '->', 'some-dir']],
  fifo: (name) => [[name, 'fifo']],
}

/** Both names stay as they were; the errno is the local disk's where it refuses as well. */
function notRenamed(row: string): NonNullable<Exempt['facts']> {
  return (fact, plain) => {
    const [pair = '', left] = fact.split(': ')
    if (left === undefined) return plain === 'ok' ? 'EINVAL' : plain
    const [one = '', other = ''] = pair.split(' to ')
    const place = `/${row}/${one}-${other}`
    const names = [
      ...(KINDS[one]?.('a', `${place}/a`) ?? []),
      ...(KINDS[other]?.('b', `${place}/b`) ?? []),
    ]
    return [...names, ['some-dir', '/', []]]
  }
}

/** From one end of the file to the other, where a local disk tells of holes. */
const SEEN_AS_DATA = [4096, 1_048_576, 6_291_456, 8_388_607]

/** What a path-based libfuse 2, and the addon that binds it, cannot keep. */
export const PORTABLE: Exemptions = {
  rows: {
    writer_keeps_right: ALONE,
    permissions: ALONE,
    ordinary_user: ALONE,
    set_id_bits: ALONE,
    rename_noreplace_matrix: {
      answer: '`RENAME_NOREPLACE` onto a free name is EINVAL, onto another EEXIST',
      reason: NO_FLAGS,
      facts: notRenamed('rename_noreplace_matrix'),
    },
    rename_exchange_matrix: {
      answer: '`RENAME_EXCHANGE` is EINVAL, and both names stay',
      reason: NO_FLAGS,
      facts: notRenamed('rename_exchange_matrix'),
    },
    rename_same_file: {
      answer: '`RENAME_EXCHANGE` is EINVAL',
      reason: NO_FLAGS,
      facts: { exchange: 'EINVAL' },
    },
    swap_by_mv: {
      answer: '`RENAME_EXCHANGE` is EINVAL; what `mv` does works',
      reason: NO_FLAGS,
      facts: { exchange: 'EINVAL', exchanged: ['converted', 'original'] },
    },
    hundred_links: {
      answer: '`RENAME_EXCHANGE` is EINVAL',
      reason: NO_FLAGS,
      facts: { 'exchanged with a new one': 'EINVAL' },
    },
    allocation: {
      answer: '`fallocate` is EOPNOTSUPP; `posix_fallocate` works, by writing',
      reason: NO_FALLOCATE,
      facts: {
        ...notAllocated('fresh', 0),
        'fresh: read':
          '2097152 bytes, sha256 53bdacd497f4f457de4d41035cc6d54d69c48b8633b38caa42f2691abf9043e8',
        ...notAllocated('1048576', 1_048_576),
        '1048576: read':
          '2097152 bytes, sha256 0e446d113d7e0e28ce260f7f4154ce0782ccd1f7c5b93fdd2b45e881bed3d98d',
      },
    },
    tofile: {
      answer: "`fallocate` is EOPNOTSUPP, which numpy's tofile passes over",
      reason: NO_FALLOCATE,
      facts: {
        allocates: 'EOPNOTSUPP',
        'allocates #2': 'EOPNOTSUPP',
        'allocates #3': 'EOPNOTSUPP',
      },
    },
    unlinked_open: {
      answer: '`fallocate` is EOPNOTSUPP',
      reason: NO_FALLOCATE,
      facts: { fallocate: 'EOPNOTSUPP' },
    },
    seek_hole: {
      answer: 'a file is one extent of data that ends in a hole at its end',
      reason: NO_FALLOCATE,
      facts: {
        ...Object.fromEntries(SEEN_AS_DATA.map((at) => [`data from ${at}`, at])),
        ...Object.fromEntries(
          [0, 1, 2_097_152, ...SEEN_AS_DATA].map((at) => [`hole from ${at}`, 8_388_608]),
        ),
      },
    },
    sparse: {
      answer: 'a sparse file takes no space, but is told as one extent of data',
      reason: NO_FALLOCATE,
      facts: { data: [[0, 17_592_186_036_228]] },
    },
    incomplete_directory: {
      answer:
        'rmdir of a directory answers ENOENT, though it goes, while a file that was removed from it ' +
        'is open or mapped',
      reason:
        'libfuse 2 calls such a file `.fuse_hidden…` in its directory, and asks for it by that path',
      facts: { 'the old one goes': 'ENOENT' },
    },
    removed_directory: {
      answer: 'ESTALE for everything in a directory that was removed while it was open',
      reason: REMOVED,
      facts: stale(
        'list',
        'links',
        'create',
        'mkdir',
        'stat in it',
        'up',
        'chmod',
        'mode',
        'fsync',
      ),
    },
    working_directory: {
      answer: 'ESTALE for everything in a working directory that was removed',
      reason: REMOVED,
      facts: stale('create there', 'mkdir there', 'stat of it', 'list it', 'go up'),
    },
    two_names_open: {
      answer:
        'a descriptor or mapping that is open by one name shows what it has read, until it is opened again',
      reason: TWO_NAMES,
      facts: { read: 'old ', mapped: 'old ' },
    },
    two_names_mapped: {
      answer:
        'a shared mapping for writing of a file with several names is refused: ENODEV. One that was made ' +
        'before the file got its second name writes whole pages over what the other name wrote',
      reason: TWO_NAMES,
      facts: { mapped: 'ENODEV', 'in the end': ['NEW ', 'old ', 'NEW '] },
    },
    two_names_one_left: {
      answer:
        'a shared mapping for writing is refused (ENODEV) while the file is open by a name that went; ' +
        'what was mapped by that one writes whole pages, of what it has read',
      reason: TWO_NAMES,
      facts: { 'mapped by the other': 'ENODEV' },
    },
    two_names_locked: {
      answer: 'a lock excludes those who take it by the same name only',
      reason: TWO_NAMES,
      facts: { 'by the other': ['ok', 'ok'] },
    },
    daemon_killed: {
      answer: 'ENOTCONN for what is open, and for the mount until it is mounted again',
      reason: 'the engine lives in the daemon, which holds the mount; no written byte is lost',
      ends: 'OSError: [Errno 107]',
    },
  },
}

function notAllocated(file: string, sizeBytes: number): Record<string, unknown> {
  return {
    [`${file}: extends`]: 'EOPNOTSUPP',
    [`${file}: size`]: sizeBytes,
    [`${file}: keeps`]: 'EOPNOTSUPP',
    [`${file}: size kept`]: [sizeBytes, sizeBytes],
    [`${file}: punch`]: 'EOPNOTSUPP',
    [`${file}: zero`]: 'EOPNOTSUPP',
  }
}

function stale(...facts: string[]): Record<string, unknown> {
  return Object.fromEntries(facts.map((fact) => [fact, 'ESTALE']))
}
