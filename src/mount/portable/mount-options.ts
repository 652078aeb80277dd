import { ModelcacheError } from '../../base/index.ts'

/** The addon's buffers for the options and for the mountpoint (fuse-native.c, fuse_thread_t). */
const MAX_BYTES = 1023
/** What Linux sends at a time to a file system that does not ask for more, as libfuse 2 cannot. */
const REQUEST_BYTES = 128 * 1024

/**
 * Options of libfuse 2.9.9 and of the kernel, which fuse-native's own constructor cannot set.
 *
 * Nobody can tell the kernel of this mount that something changed (libfuse 2 notifies only through
 * its low-level interface), so that nothing may be cached for long:
 * - attributes not at all (`attr_timeout=0`): two names of one file are two files to libfuse, and
 *   so to the kernel, and each would show what the other was;
 * - names for a second: a change behind the mount, such as a merge, is seen that much later;
 * - names that are not there not at all;
 * - pages as page-cache.ts says at each open.
 */
const OPTIONS = [
  'attr_timeout=0',
  'entry_timeout=1',
  'negative_timeout=0',
  // st_ino is the backing inode's.
  'use_ino',
  // The kernel checks permissions, with the attributes that we give.
  'default_permissions',
  'big_writes',
  `max_read=${REQUEST_BYTES}`,
  // Else a truncation would follow the open, and a crash could come in between.
  'atomic_o_trunc',
  'subtype=modelcache',
]

/**
 * The one argument that the addon passes on to libfuse.
 *
 * @param fsName as it is to stand in /proc/mounts
 * @throws ModelcacheError `mount-failed` where something is longer than the addon can take
 */
export function mountOptions(mountpoint: string, fsName: string, readOnly: boolean): string {
  const source = `fsname=${fsName.replace(/[\\,]/g, '\\$&')}`
  const options = `-o${[...OPTIONS, ...(readOnly ? ['ro'] : []), source].join(',')}`
  for (const [what, text] of Object.entries({ mountpoint, 'path of the store': options })) {
    if (Buffer.byteLength(text) > MAX_BYTES) {
      throw new ModelcacheError(`mount: the ${what} is too long for fuse-native`, {
        code: 'mount-failed',
        exitCode: 1,
      })
    }
  }
  return options
}
