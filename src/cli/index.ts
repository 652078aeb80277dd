/** The command line. Its program is main.ts; tests and the tour use what else is here. */
export { type MountEntry, type OwnMount, ownMounts, readMountTable } from './mount-table.ts'
