import { type Clock, type Logger, ModelcacheError, withDeadline } from '../base/index.ts'
import { type DaemonConfig, requireOpenGate } from '../config/index.ts'
import type { Engine, Hello } from '../mount/index.ts'
import { verifyStore } from '../verify/index.ts'
import type { CommitResult } from '../writeback/index.ts'
import { localBlock } from './block-sources.ts'
import type { ControlCall, ControlOperations } from './control-server.ts'
import type { ControlArgs } from './control-wire.ts'
import type { Drain, Drained } from './drain.ts'
import { historyOperations } from './history.ts'
import type { Services } from './services.ts'
import { statusOf } from './status.ts'
import { cidOf } from './tree-cids.ts'

export interface OperationContext {
  hello: Hello
  config: DaemonConfig
  engine: Engine
  services: Services
  drain: Drain
  clock: Clock
  logger: Logger
}

/** What `unmount` waits for without an option: a minute, as the command line's default. */
const UNMOUNT_TIMEOUT_MS = 60_000
/** One answer has to fit a line. */
const MAX_PATHS = 10_000

/** The operations of the control socket. */
export function createOperations(context: OperationContext): ControlOperations {
  const { clock, config, drain, engine, services } = context
  const { committer, share } = services
  return {
    ...historyOperations({
      services,
      engine,
      readOnly: config.readOnly,
      withoutEngine: context.hello.engine === 'none',
    }),
    status: () => statusOf({ ...context, ...services, state: () => drain.state }),
    commit: async ({ args }) => {
      const timeoutMs = optionalNumber(args, 'timeoutMs')
      const signal = timeoutMs === undefined ? undefined : withDeadline(undefined, timeoutMs, clock)
      return jsonOf(await committer.commit(signal))
    },
    cid: ({ args, signal }) => cids(pathsOf(args), services, signal),
    share: async () => {
      requireOpenGate(config.gate, 'share')
      return share?.open()
    },
    verify: ({ progress, signal }) =>
      verifyStore(
        {
          ...services,
          engine,
          clock,
          logger: context.logger,
          getLocal: (cid, aborted) => localBlock(services.blockstore, cid, aborted),
          commit: () => committer.commit(),
          rebuild: () => committer.rebuild(),
          fetchDeadlineMs: config.fetchDeadlineMs,
        },
        progress,
        signal,
      ),
    unmount: async ({ args }) => {
      const timeoutMs = optionalNumber(args, 'timeoutMs') ?? UNMOUNT_TIMEOUT_MS
      return jsonOf(await drain.unmount({ timeoutMs, force: args.force === true }))
    },
  } satisfies Record<string, (call: ControlCall) => Promise<unknown>>
}

async function cids(paths: readonly string[], services: Services, signal: AbortSignal) {
  const answers: { path: string; cid: string }[] = []
  for (const path of paths) {
    signal.throwIfAborted()
    answers.push({ path, cid: (await cidOf(path, services)).toString() })
  }
  return answers
}

function jsonOf({ root, tree, ...rest }: CommitResult | Drained): Record<string, unknown> {
  return { root: root?.toString() ?? '', tree: tree?.toString() ?? '', ...rest }
}

function pathsOf({ paths }: ControlArgs): string[] {
  const isList = Array.isArray(paths) && paths.every((path) => typeof path === 'string')
  if (!isList || paths.length > MAX_PATHS || paths.some(leavesTheTree)) {
    throw new ModelcacheError(`cid: paths must be at most ${MAX_PATHS} paths inside the mount`, {
      code: 'usage',
      exitCode: 2,
    })
  }
  return paths
}

function leavesTheTree(path: string): boolean {
  return path.startsWith('/') || path.includes('\0') || path.split('/').includes('..')
}

function optionalNumber(args: ControlArgs, name: string): number | undefined {
  const value = args[name]
  if (value === undefined || (typeof value === 'number' && value >= 0)) {
    return value
  }
  throw new ModelcacheError(`${name} is no time in milliseconds: ${JSON.stringify(value)}`, {
    code: 'usage',
    exitCode: 2,
  })
}
