import { ModelcacheError } from '../base/index.ts'
import { type Difference, planRestore, stageFiles, treeDifferences } from '../history/index.ts'
import type { Engine } from '../mount/index.ts'
import type { LoggedCommit } from '../writeback/index.ts'
import type { ControlCall } from './control-server.ts'
import type { Services } from './services.ts'

export interface RestoreContext {
  services: Services
  engine: Engine
  readOnly: boolean
  /** Programs would not be asked: what is remote could not be shown. */
  withoutEngine: boolean
}

/** A screen of names says what is wrong. */
const MAX_NAMED = 20

/**
 * Prepares going back to a root: says what has to be done in the mount, step by step, and stages
 * the files for it. The steps are done by the command line, through the mount as any program would:
 * this process never touches it. The root is pinned until that is done.
 */
export async function restore(
  target: LoggedCommit,
  { services, readOnly, withoutEngine }: RestoreContext,
  { progress, signal }: ControlCall,
): Promise<object> {
  if (readOnly || withoutEngine) {
    throw new ModelcacheError(
      `restore ${target.root}: the mount is ${readOnly ? 'read-only' : 'without an engine'}; mount it ` +
        `${readOnly ? 'without --read-only' : 'with one'}`,
      { code: 'cannot-restore', exitCode: readOnly ? 1 : 5 },
    )
  }
  const { committer, kept, network, car, sources } = services
  const { root, open } = await committer.commit()
  if (open.length > 0) {
    throw notSettled(target, open)
  }
  const pinned = !kept.roots().some((one) => one.root.equals(target.root))
  if (pinned) {
    await kept.pin(target)
  }
  const current = services.log.current() ?? target
  const differences: Difference[] = []
  for await (const difference of treeDifferences(sources.getBlock, current, target)) {
    differences.push(difference)
  }
  const { steps, wanted } = planRestore(differences)
  const canFetch = car !== undefined || (network?.stats().peers ?? 0) > 0
  const { folder, missing } = await stageFiles(wanted, { ...services, canFetch }, signal)
  if (missing.length > 0 && pinned) {
    await kept.unpin(target.root)
  }
  for (const step of missing.length > 0 ? [] : steps) {
    progress(step)
  }
  const { tree, rootMode: mode, rootMtimeNs } = target
  const attributes = { mode, mtimeNs: rootMtimeNs.toString() }
  return {
    before: `${root}`,
    root: `${target.root}`,
    tree: `${tree}`,
    folder,
    missing,
    pinned,
    attributes,
  }
}

function notSettled(target: LoggedCommit, open: readonly { path: string; reason: string }[]) {
  const named = open.slice(0, MAX_NAMED).map(({ path, reason }) => `  ${path} (${reason})`)
  const rest = open.length > MAX_NAMED ? [`  and ${open.length - MAX_NAMED} more`] : []
  return new ModelcacheError(
    `restore ${target.root}: not everything is settled, and nothing must be lost; end the programs that ` +
      `write, and restore again:\n${[...named, ...rest].join('\n')}`,
    { code: 'not-settled', exitCode: 4 },
  )
}
