import { stat, statfs } from 'node:fs/promises'
import { release } from 'node:os'
import { dirname } from 'node:path'
import { shQuoted } from '../attach/index.ts'
import { isErrno, messageOf, statfsType, withDeadline } from '../base/index.ts'
import {
  defaultStore,
  LOST_WITH,
  LOW_SPACE_BYTES,
  mountpointOption,
  realPlace,
} from '../config/index.ts'
import type { Context } from './context.ts'
import { lackOf } from './engine-choice.ts'
import { FOREIGN } from './foreign-store.ts'
import { knownMounts } from './known-mounts.ts'
import { tryMountOn } from './locate.ts'
import { findProgram, type Lack, lackOfFuse, lackOfPrivilege, mayAdminister } from './machine.ts'
import type { OwnMount } from './own-mounts.ts'
import { logOf, pulseOf, serverOf } from './stale-mount.ts'
import { hasUserXattrs } from './store-place.ts'
import { sizeText } from './terminal.ts'

/** One line of `doctor`. */
export interface Finding {
  readonly check: string
  readonly state: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** What to do; empty where nothing needs doing. */
  readonly remedy: string
}

/** FUSE passthrough came with this kernel. */
const PASSTHROUGH_KERNEL = [6, 9] as const

/** All mounts are asked at once; `doctor` as a whole answers within 5 s. */
const MOUNTS_DEADLINE_MS = 4_000

/** Looks at everything; a check that fails to look says so as its own finding. */
export async function findAll(
  directory: string,
  store: string | undefined,
  context: Context,
): Promise<Finding[]> {
  const { env, cwd } = context
  const place = async () =>
    store ??
    (await tryMountOn(directory, cwd))?.store ??
    defaultStore(await realPlace(mountpointOption(directory, cwd)), env)
  const checks: [string, () => Promise<Finding[]>][] = [
    ['node', async () => [ok('node', `${process.versions.node} (${process.execPath})`)]],
    ['fuse', async () => [fromLack('fuse', '/dev/fuse is there', await lackOfFuse())]],
    ['helper', async () => [await helper(context)]],
    ['engines', () => engineFindings(context)],
    ['passthrough', async () => [await passthrough(context)]],
    ['store', async () => storeFindings(await place())],
    ['mounts', () => mountFindings(context)],
  ]
  const findings: Finding[] = []
  for (const [check, look] of checks) {
    try {
      findings.push(...(await look()))
    } catch (error) {
      findings.push({
        check,
        state: 'warn',
        detail: `cannot look: ${messageOf(error)}`,
        remedy: '',
      })
    }
  }
  return findings
}

function ok(check: string, detail: string): Finding {
  return { check, state: 'ok', detail, remedy: '' }
}

function warn(check: string, detail: string, remedy: string): Finding {
  return { check, state: 'warn', detail, remedy }
}

function fromLack(check: string, detail: string, lack: Lack | undefined): Finding {
  return lack === undefined
    ? ok(check, detail)
    : { check, state: 'fail', detail: lack.message, remedy: lack.remedy }
}

async function helper({ env }: Context): Promise<Finding> {
  const program = await findProgram('fusermount3', env)
  const detail = program ?? 'not needed: root mounts without fusermount3'
  return fromLack('helper', detail, await lackOfPrivilege(env, 'fusermount3'))
}

/** `auto` takes the first that is ok; one that is missing is bad only where no FUSE is left. */
async function engineFindings(context: Context): Promise<Finding[]> {
  const native = await lackOf('native', context)
  const portable = await lackOf('fuse-native', context)
  const state = native === undefined || portable === undefined ? 'warn' : 'fail'
  const lost = LOST_WITH.none.join('; ')
  return [
    engineFinding('native', `the keeper ${context.installed.keeper}`, native, state),
    engineFinding('fuse-native', 'inside the daemon', portable, state),
    native === undefined || portable === undefined
      ? ok('none', `a link to the files, where asked for: ${lost}`)
      : warn(
          'none',
          `a link to the files is what is left: ${lost}`,
          betterThanNone(native, portable),
        ),
  ]
}

/** What gives a machine an engine: the keeper's lack alone, unless FUSE itself is the lack. */
function betterThanNone(native: Lack, portable: Lack): string {
  return native.remedy === portable.remedy
    ? `for an engine with FUSE: ${native.remedy}`
    : `for the native engine: ${native.remedy}; for fuse-native: ${portable.remedy}`
}

function engineFinding(
  check: string,
  detail: string,
  lack: Lack | undefined,
  state: 'warn' | 'fail',
): Finding {
  return { ...fromLack(check, detail, lack), ...(lack === undefined ? {} : { state }) }
}

async function passthrough(context: Context): Promise<Finding> {
  const lack = await lackOf('native', context)
  if (lack !== undefined) {
    return warn(
      'passthrough',
      `off: only the native engine has it, and ${lack.message}`,
      lack.remedy,
    )
  }
  const kernel = release()
  const [major = 0, minor = 0] = kernel.split('.').map(Number)
  const [needMajor, needMinor] = PASSTHROUGH_KERNEL
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    return warn(
      'passthrough',
      `off: kernel ${kernel} is older than ${needMajor}.${needMinor}`,
      'reads go through the keeper; a newer kernel makes them as fast as the disk',
    )
  }
  return (await mayAdminister())
    ? ok('passthrough', `possible: kernel ${kernel}, CAP_SYS_ADMIN held`)
    : warn(
        'passthrough',
        'off: CAP_SYS_ADMIN is not held',
        'reads go through the keeper; mount as root to make them as fast as the disk',
      )
}

/** Looks at the folder that the store is in or would be made in. */
async function storeFindings(store: string): Promise<Finding[]> {
  const folder = await nearestExisting(store)
  const type = await statfsType(folder)
  const { bavail, bsize } = await statfs(folder)
  const freeBytes = bavail * bsize
  return [
    xattrFinding(folder, type),
    ...(type === 'overlay'
      ? [warn('store', `${store} is on overlayfs`, 'give a --store on a volume to keep it')]
      : [ok('store', `${store} on ${type}`)]),
    freeBytes < LOW_SPACE_BYTES
      ? warn('space', `${sizeText(freeBytes)} free for ${store}`, 'models need more; free some')
      : ok('space', `${sizeText(freeBytes)} free`),
  ]
}

function xattrFinding(folder: string, type: string): Finding {
  try {
    return hasUserXattrs(folder)
      ? ok('xattrs', `${folder} on ${type} has them`)
      : warn(
          'xattrs',
          `${folder} on ${type} has no user xattrs`,
          'nothing can be opened with --from there; give a --store on ext4, XFS or Btrfs',
        )
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EROFS')) {
      return warn('xattrs', `cannot write to ${folder}`, 'give a --store that you can write to')
    }
    throw error
  }
}

async function nearestExisting(path: string): Promise<string> {
  try {
    await stat(path)
    return path
  } catch (error) {
    if (!isErrno(error, 'ENOENT') || path === '/') {
      throw error
    }
    return nearestExisting(dirname(path))
  }
}

async function mountFindings(context: Context): Promise<Finding[]> {
  const mounts = await knownMounts(context.env)
  const deadline = withDeadline(context.signal, MOUNTS_DEADLINE_MS)
  const findings = await Promise.all(mounts.map((mount) => mountFinding(mount, deadline)))
  return findings.length === 0 ? [ok('mounts', 'none')] : findings
}

async function mountFinding(mount: OwnMount, signal: AbortSignal): Promise<Finding> {
  const { mountpoint, store } = mount
  switch (await pulseOf(mount, signal)) {
    case 'alive':
      return ok('mounts', `${mountpoint} is served from ${store}`)
    case 'dead':
      return warn(
        'mounts',
        `${mountpoint} is stale: its ${serverOf(mount)} is dead`,
        `\`modelcache mount ${shQuoted(mountpoint)} --store ${shQuoted(store)}\` repairs it`,
      )
    case 'silent':
      return warn(
        'mounts',
        `${mountpoint} does not answer`,
        `${logOf(mount)} says more; \`modelcache unmount --force ${shQuoted(mountpoint)}\` ends it`,
      )
    case 'foreign':
      return ok('mounts', `${mountpoint}: its state is unknown, since it ${FOREIGN}`)
  }
}
