import { CID } from 'multiformats/cid'
import { ModelcacheError } from '../base/index.ts'
import { carOf, collectNodes, rootBlocks } from '../history/index.ts'
import type { LoggedCommit } from '../writeback/index.ts'
import { localBlock } from './block-sources.ts'
import type { ControlCall, ControlOperations } from './control-server.ts'
import { type RestoreContext, restore } from './restore.ts'
import { holdsSecret, type Services } from './services.ts'

/** A root as `log` tells of it. */
interface LogEntry {
  root: string
  tree: string
  at: string
  sequence: number
  current: boolean
  kept: boolean
  pinned: boolean
  /** It came with `--from`. */
  adopted: boolean
  /** Of a kept root: paths whose bytes are not on this machine. */
  missing: string[]
}

/** A screen of names says what is wrong. */
const MAX_MISSING = 1000
const DEFAULT_LIMIT = 100
const MAX_LIMIT = 4096

/** The operations on roots. */
export function historyOperations(context: RestoreContext): ControlOperations {
  const { services } = context
  return {
    log: ({ args }) => logOf(services, limitOf(args.limit)),
    pin: ({ args }) => pin(services, args.root),
    unpin: async ({ args }) => {
      const { root } = knownRoot(services, args.root)
      return { root: root.toString(), pinned: false, changed: await services.kept.unpin(root) }
    },
    restore: (call) => restore(knownRoot(services, call.args.root), context, call),
    gc: ({ signal }) => collect(services, signal),
    export: (call) => exportRoot(services, call),
  }
}

async function logOf({ kept, keptFiles, log }: Services, limit: number): Promise<LogEntry[]> {
  const current = log.current()
  const keptRoots = kept.roots()
  const isKeptRoot = (root: CID) => keptRoots.some((one) => one.root.equals(root))
  const entries: LogEntry[] = []
  const newest = log.commits().slice(0, limit)
  // Pinned ones are listed however old they are.
  const older = keptRoots.filter(({ root }) => !newest.some((one) => one.root.equals(root)))
  for (const commit of [...newest, ...older]) {
    const isKept = isKeptRoot(commit.root)
    const missing = isKept && commit !== current ? await keptFiles.missing(commit) : []
    entries.push({
      root: commit.root.toString(),
      tree: commit.tree.toString(),
      at: commit.at.toISOString(),
      sequence: commit.sequence,
      current: commit === current,
      kept: isKept,
      pinned: kept.isPinned(commit.root),
      adopted: commit.adopted,
      missing: missing.slice(0, MAX_MISSING),
    })
  }
  return entries
}

async function pin(services: Services, text: unknown): Promise<object> {
  const commit = knownRoot(services, text)
  const { kept, keptFiles } = services
  const root = commit.root.toString()
  if (!kept.roots().some((one) => one.root.equals(commit.root))) {
    const missing = await keptFiles.missing(commit)
    if (missing.length > 0) {
      throw new ModelcacheError(
        `pin ${root}: it was not kept, and not all of it is here any more: ${missing[0]}` +
          `${missing.length > 1 ? ` and ${missing.length - 1} more` : ''}; pin a root that ` +
          '`modelcache log` calls kept',
        { code: 'incomplete-root', exitCode: 1 },
      )
    }
  }
  await kept.pin(commit)
  return { root, pinned: true }
}

/** A commit first: what was removed since the last one is needed by no root after it. */
async function collect(services: Services, signal: AbortSignal): Promise<object> {
  const { committer, database, kept, nodes, orphans } = services
  const { root } = await committer.commit()
  return committer.alone(async () => {
    const collected = await collectNodes(
      {
        nodes,
        database,
        getLocal: (cid, aborted) => localBlock(services.blockstore, cid, aborted),
        roots: () => kept.roots().map((commit) => commit.root),
      },
      signal,
    )
    return { root: root.toString(), ...collected, retainedFiles: orphans.waiting }
  })
}

async function exportRoot(services: Services, call: ControlCall): Promise<object> {
  const { args, signal, write } = call
  const { committer, database, obeyed, sources } = services
  const result = args.root === undefined ? await committer.commit() : undefined
  const commit = knownRoot(services, result?.root.toString() ?? args.root)
  if (obeyed.since === undefined || commit.sequence < obeyed.since) {
    throw new ModelcacheError(
      `export ${commit.root}: names in it were made local-only since; commit, and export the new root`,
      { code: 'secret', exitCode: 1 },
    )
  }
  const parts = {
    getBlock: sources.getBlock,
    isSecret: (file: CID) => holdsSecret(database, file),
  }
  for await (const chunk of carOf(commit.root, rootBlocks(commit, parts, signal))) {
    signal.throwIfAborted()
    await write(chunk)
  }
  const { open = [], withheld = [] } = result ?? {}
  return { root: commit.root.toString(), tree: commit.tree.toString(), open, withheld }
}

/** A root of this store, by its CID. */
function knownRoot({ kept, log }: Services, text: unknown): LoggedCommit {
  const root = parse(text)
  const commit = [...log.commits(), ...kept.roots()].find(
    (one) => root !== undefined && one.root.equals(root),
  )
  if (commit === undefined) {
    throw new ModelcacheError(
      `root ${String(text).slice(0, 200)}: it is no root of this mount; \`modelcache log\` lists them`,
      { code: 'unknown-root', exitCode: 1 },
    )
  }
  return commit
}

function parse(text: unknown): CID | undefined {
  try {
    return CID.parse(String(text))
  } catch {
    // Said by the caller, with the same words as for a CID of somebody else.
    return undefined
  }
}

function limitOf(value: unknown): number {
  if (value === undefined) {
    return DEFAULT_LIMIT
  }
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= MAX_LIMIT) {
    return value
  }
  throw new ModelcacheError(`log: limit ${JSON.stringify(value)}: give 1 to ${MAX_LIMIT}`, {
    code: 'usage',
    exitCode: 2,
  })
}
