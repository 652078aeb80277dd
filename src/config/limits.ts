/**
 * Limits of the command line and of what it starts, each with its why. Units come last in names.
 */

/**
 * `mount` waits this long for a mount to be ready, or for news of what is fetched before: a scan
 * of a million files after a crash takes 13 s.
 */
export const MOUNT_DEADLINE_MS = 120_000

/** `unmount` drains this long by default before it says what holds the mount. */
export const UNMOUNT_TIMEOUT_S = 60

/** The longest that a person may ask to wait: a day. */
export const MAX_TIMEOUT_S = 86_400

/** After the mount is gone its keeper closes files and database; then it must have ended. */
export const KEEPER_EXIT_MS = 15_000

/** A read of bytes that are remote fails with EIO after this, as a disk would that gave up. */
export const FETCH_DEADLINE_S = 30

/** The longest that a program may be left waiting in a read: an hour. */
export const MAX_FETCH_DEADLINE_S = 3_600

/** A process that answers at all answers facts about itself within this. */
export const STATUS_DEADLINE_MS = 5_000

/** While the keeper restarts the daemon, commands wait this long for the daemon's return. */
export const DAEMON_RETURN_MS = 20_000

/** A daemon that was asked for its status and says nothing for so long stands still. */
export const STATUS_ANSWER_MS = 10_000

/** `status` answers for the keeper when the daemon has not come back within this. */
export const STATUS_PATIENCE_MS = 2_000

/** Threads of the keeper; a fetch never occupies one of them. */
export const KEEPER_THREADS = 8

/** PATH_MAX without its NUL, less a slash and a name of 255 bytes: something must fit inside. */
export const MAX_MOUNTPOINT_BYTES = 4095 - 256

/** The store's own paths are longer than the store's by less than this. */
export const MAX_STORE_BYTES = 4095 - 512

/** NAME_MAX of every file system that can hold a store. */
export const MAX_NAME_BYTES = 255

/** More peers than this is a mistake in a script: every fetch asks all of them. */
export const MAX_PEERS = 64

/** Each kept root is compared with the current one when files were removed. */
export const MAX_KEEP_ROOTS = 1_000

/** `status --watch` redraws this often. */
export const WATCH_INTERVAL_MS = 1_000

/** Less free space than this in the store's file system gets a warning of `doctor`. */
export const LOW_SPACE_BYTES = 1024 ** 3
