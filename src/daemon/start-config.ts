import { ModelcacheError } from '../base/index.ts'
import { ENGINE_NAMES, type EngineName } from '../config/index.ts'

/** What serving without a keeper needs of the command line's object (docs/protocol.md). */
export interface StartConfig {
  engine: Exclude<EngineName, 'native'>
  mountpoint: string
  store: string
  readOnly: boolean
  fsName: string
  fetchDeadlineMs: number
  /** As the keeper would hand it on. */
  daemonConfig: unknown
}

/**
 * The configuration on standard input. It was validated by the command line; this only makes sure
 * that it comes from a program that speaks of the same things.
 *
 * @throws ModelcacheError `usage`
 */
export function startConfigOf(text: string): StartConfig {
  const { engine: name, mountpoint, store, readOnly, fsName, ...rest } = objectOf(text)
  const engine = ENGINE_NAMES.find((one) => one === name)
  if (engine === undefined || engine === 'native') {
    throw unusable(`engine is ${JSON.stringify(name)}`)
  }
  if (!isPlace(mountpoint) || !isPlace(store)) {
    throw unusable('mountpoint or store is no absolute path')
  }
  const { fetchDeadlineMs, daemonConfig } = rest
  if (
    typeof readOnly !== 'boolean' ||
    typeof fsName !== 'string' ||
    typeof fetchDeadlineMs !== 'number'
  ) {
    throw unusable('readOnly, fsName or fetchDeadlineMs is missing')
  }
  return { engine, mountpoint, store, readOnly, fsName, fetchDeadlineMs, daemonConfig }
}

function objectOf(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw unusable('it is no JSON', cause)
  }
  if (typeof value !== 'object' || value === null) {
    throw unusable('it is no object')
  }
  return value as Record<string, unknown>
}

function isPlace(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith('/')
}

function unusable(reason: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`start configuration: ${reason}`, {
    code: 'usage',
    exitCode: 2,
    cause,
  })
}
