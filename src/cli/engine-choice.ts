import { ModelcacheError } from '../base/index.ts'
import { type EngineName, LOST_WITH, type MountOptions, shown } from '../config/index.ts'
import type { Context } from './context.ts'
import { type Lack, lackOfAddon, lackOfFuse, lackOfKeeper, lackOfPrivilege } from './machine.ts'

/** The engine that a mount gets, and what a person should know about it. */
export interface EngineChoice {
  readonly engine: EngineName
  /** Why `auto` took no better one, and what is lost by it. */
  readonly said: readonly string[]
}

type Wishes = Pick<MountOptions, 'engine' | 'mountpoint' | 'readOnly' | 'allowOther'>

/** What this machine lacks for an engine; undefined where it can have it. */
export async function lackOf(
  engine: EngineName,
  { installed, env }: Pick<Context, 'installed' | 'env'>,
): Promise<Lack | undefined> {
  switch (engine) {
    case 'native':
      return (
        (await lackOfKeeper(installed)) ??
        (await lackOfFuse()) ??
        (await lackOfPrivilege(env, 'fusermount3'))
      )
    case 'fuse-native':
      // libfuse 2 asks for the helper by its old name.
      return (
        (await lackOfFuse()) ?? (await lackOfPrivilege(env, 'fusermount')) ?? (await lackOfAddon())
      )
    case 'none':
      return undefined
  }
}

/** The addon's buffer for the mountpoint, less its NUL (fuse-native.c, fuse_thread_t). */
const MAX_PORTABLE_MOUNTPOINT_BYTES = 1023

/** The same for a mount on this path, which not every engine can take. */
async function lackFor(
  engine: EngineName,
  mountpoint: string,
  context: Pick<Context, 'installed' | 'env'>,
): Promise<Lack | undefined> {
  const lack = await lackOf(engine, context)
  const bytes = Buffer.byteLength(mountpoint)
  if (lack !== undefined || engine !== 'fuse-native' || bytes <= MAX_PORTABLE_MOUNTPOINT_BYTES) {
    return lack
  }
  return {
    code: 'mountpoint-too-long',
    message:
      `the mountpoint's path has ${bytes} bytes, and fuse-native takes at most ` +
      `${MAX_PORTABLE_MOUNTPOINT_BYTES}`,
    remedy: 'give a shorter path, or use --engine native',
  }
}

/**
 * Decides what serves a mount. `auto` takes the best that this machine can have: the keeper; else
 * FUSE inside the daemon; else no engine at all. It looks at what is there and tries nothing: a
 * keeper that is there and fails is an error, and no reason to take a worse engine unasked.
 *
 * @throws ModelcacheError, exit code 5: a named engine that this machine cannot have, or an option
 *   that the engine cannot keep
 */
export async function chooseEngine(
  options: Wishes,
  context: Pick<Context, 'installed' | 'env'>,
): Promise<EngineChoice> {
  if (options.engine !== 'auto') {
    const lack = await lackFor(options.engine, options.mountpoint, context)
    if (lack !== undefined) {
      throw new ModelcacheError(`--engine ${options.engine}: ${lack.message}: ${lack.remedy}`, {
        code: lack.code,
        exitCode: 5,
      })
    }
    requireKept(options.engine, options, undefined)
    return { engine: options.engine, said: [] }
  }
  const native = await lackOf('native', context)
  if (native === undefined) {
    return { engine: 'native', said: [] }
  }
  const portable = await lackFor('fuse-native', options.mountpoint, context)
  const engine = portable === undefined ? 'fuse-native' : 'none'
  // Where FUSE itself is missing both lack the same; the keeper's word comes first.
  const lack = portable === undefined || native.code !== 'no-keeper' ? native : portable
  requireKept(engine, options, lack)
  return { engine, said: sayings(engine, lack, options.mountpoint) }
}

function sayings(engine: EngineName, lack: Lack, mountpoint: string): string[] {
  const what =
    engine === 'none'
      ? `${shown(mountpoint)} is a link to the files on disk`
      : 'the portable engine inside the daemon serves the mount'
  return [
    `engine ${engine}: ${lack.message}, so ${what}; ${lack.remedy}`,
    `what is lost: ${LOST_WITH[engine].join('; ')}`,
  ]
}

/** Options that only some engines can keep: broken in silence they would be worse than refused. */
function requireKept(engine: EngineName, options: Wishes, lack: Lack | undefined): void {
  const broken =
    options.allowOther && engine !== 'native'
      ? '--allow-other'
      : options.readOnly && engine === 'none'
        ? '--read-only'
        : undefined
  if (broken === undefined) {
    return
  }
  const able = broken === '--allow-other' ? 'the native engine' : 'an engine with FUSE'
  const remedy =
    lack === undefined ? `mount without --engine ${engine}` : `${lack.message}: ${lack.remedy}`
  throw new ModelcacheError(
    `${broken}: only ${able} can keep it, and not engine ${engine}; ${remedy}`,
    { code: 'engine-cannot', exitCode: 5 },
  )
}
