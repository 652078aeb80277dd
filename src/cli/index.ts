/** The command line. Its program is main.ts; nobody imports what else is here but tests. */
export { type MountEntry, readMountTable } from './mount-table.ts'
export type { OwnMount } from './own-mounts.ts'
