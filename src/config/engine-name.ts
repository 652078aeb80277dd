/** What can serve a mount, the best first. */
export const ENGINE_NAMES = ['native', 'fuse-native', 'none'] as const
export type EngineName = (typeof ENGINE_NAMES)[number]

/** Values of `--engine`; `auto` asks the machine. */
export const ENGINE_WISHES = ['auto', ...ENGINE_NAMES] as const
export type EngineWish = (typeof ENGINE_WISHES)[number]

/** What a mount cannot do with an engine and can with the native one; docs/semantics.md has the rest. */
export const LOST_WITH: Readonly<Record<EngineName, readonly string[]>> = {
  native: [],
  'fuse-native': [
    'every read and write goes through the daemon, and is slower',
    'the mount is gone when the daemon is',
    'no other users (--allow-other)',
  ],
  none: [
    'nothing is fetched when it is read: all of it must be here',
    'no --read-only, no --allow-other',
    'no evicting, following or restoring while it is mounted',
    'every commit compares every file with its stamp',
  ],
}
