export { type Capability, has } from './capability.ts'
export { scrubbedEnvironment } from './environment.ts'
export {
  launcherPath,
  modelcache,
  modelcacheJson,
  modelcacheOk,
  nodePath,
  repositoryRoot,
} from './modelcache.ts'
export {
  type CommitAnswer,
  type EngineName,
  FUSE_ENGINES,
  type Mount,
  type MountOptions,
  type MountStatus,
  withMount,
} from './mount.ts'
export { FORGET_COPIED_MOUNTS } from './mount-namespace.ts'
export {
  NOBODY,
  type OrdinaryUser,
  type OrdinaryUserOptions,
  ordinaryUser,
} from './ordinary-user.ts'
export {
  type Finished,
  isAlive,
  type Running,
  type RunOptions,
  run,
  runOk,
  start,
} from './process.ts'
export { makeTempDir, mountpointsBelow, removeTempDir, tempDir, testCacheDir } from './temp-dir.ts'
export { readTree, type TreeEntry, type TreeOptions, treeDifferences } from './tree.ts'
export { type PinSet, type Venv, venv } from './venv.ts'
export { waitFor } from './wait-for.ts'
