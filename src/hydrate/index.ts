/** Fetching on demand: listing directories, filling placeholders, opening roots. */
export type { CompletedFile } from './completed-file.ts'
export { type ChildEntry, directoryContent } from './directory-content.ts'
export {
  createHydrator,
  type HydrateOptions,
  type HydrateStats,
  type Hydrator,
  type HydratorComponents,
} from './hydrator.ts'
export { DEFAULT_HYDRATE_LIMITS, type HydrateLimits } from './limits.ts'
export { type OpenedRoot, openRoot, parseRoot, rootNotFound } from './root.ts'
export type { Sources } from './sources.ts'
export type { TreePath } from './tree-path.ts'
