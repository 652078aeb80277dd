import type { Exemptions } from './exempt.ts'

const LINKED_BACK = {
  answer: 'a committed file that has no name left can be linked back by its descriptor',
  reason: 'the link in `objects/` keeps the inode alive, where a file without any name is ENOENT',
}

/**
 * Without an engine programs use the tree itself, on the local disk: nothing of it is imitated, and
 * nothing of ours can be hidden.
 */
export const PLAIN: Exemptions = {
  countsOurLinks: {
    answer:
      'one more than the names that programs made, from the first commit on: the `onnx` package ' +
      'refuses external data with more than one link, and filelock, huggingface_hub, git and ' +
      'onnxruntime do not mind',
    reason: 'the link in `objects/` is a name of the file, and nobody is there to take it off',
  },
  rows: {
    committed_links: {
      ...LINKED_BACK,
      facts: {
        'one name 0': Array.from({ length: 5 }, () => ({ nlink: 2 })),
        'two names 0': [{ nlink: 3 }, { nlink: 3 }],
        'one again 1': { nlink: 2 },
        'unlinked and open': [{ nlink: 1 }, { nlink: 1 }],
        'linked back': 'ok',
        'after a commit': [{ nlink: 2 }, 200_000],
      },
    },
    link_errors: { ...LINKED_BACK, facts: { 'linked back': 'ok' } },
    unlinked_open: {
      ...LINKED_BACK,
      facts: {
        'linked back': 'ok',
        'no name': ['back', 'dangling', 'dir', 'loop', 'to-dir', 'to-file'],
      },
    },
    sorted_names: {
      answer: "names come in the local disk's order",
      reason: 'the keeper sorts what it lists',
      broken: ['sorted', 'dots first'],
    },
    unnamed_files: {
      answer: '`O_TMPFILE` works',
      reason: 'the local disk has it, FUSE has not',
      broken: ['O_TMPFILE 1', 'O_TMPFILE 2:', 'O_TMPFILE 130:'],
    },
    rename_errors: {
      answer: '`RENAME_WHITEOUT` works',
      reason: 'the local disk has it',
      broken: ['whiteout'],
    },
    special_files: {
      answer: 'root can make devices',
      reason: 'nothing is mounted that could be `nodev`',
      broken: ['device:'],
    },
    other_name_spaces: {
      answer: '`trusted.*`, `security.*` and access control lists work; no root carries them',
      reason: 'the local disk has them',
      broken: [
        'set trusted.a',
        'get trusted.a',
        'set security.a',
        'get security.a',
        'set system.posix_acl_access',
        'nothing was set',
      ],
    },
    hidden_record: {
      answer: '`user.mc` can be set: a file that has one is taken for damaged and not committed',
      reason: 'nobody stands between to refuse it; no file carries one while there is no engine',
      broken: [
        'f: set',
        'f: remove',
        'd: set',
        'd: remove',
        'model_cache: set',
        'model_cache: remove',
      ],
    },
    cid_attribute: {
      answer: 'ENODATA, and it can be set as any other; `modelcache cid` tells the CID',
      reason: 'a virtual attribute needs somebody who answers',
      broken: ['a raw leaf of sha2-256', 'set', 'remove'],
    },
    working_directory: {
      answer: "`getcwd` gives the path in the store, as with every symbolic link's target",
      reason: 'the mountpoint is a link to the tree',
      broken: ["it is called by the mount's path"],
    },
  },
}
