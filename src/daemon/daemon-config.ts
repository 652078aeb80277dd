import { FAULT_ACTIONS, type Fault, ModelcacheError } from '../base/index.ts'
import type { DaemonConfig } from '../config/index.ts'

/**
 * What the command line gave the keeper for us. It was validated there; this only makes sure that
 * it comes from a program that speaks of the same things.
 *
 * @throws ModelcacheError `bad-config`
 */
export function daemonConfigOf(value: unknown): DaemonConfig {
  if (typeof value !== 'object' || value === null) {
    throw badConfig('it is no object')
  }
  const config = value as Record<string, unknown>
  const { gate, from, car, peers, readOnly, fetchDeadlineMs, localOnlyPatterns, version } = config
  const { fault, keepRoots } = config
  if (
    typeof gate !== 'object' ||
    gate === null ||
    !('open' in gate) ||
    typeof gate.open !== 'boolean' ||
    !('by' in gate) ||
    typeof gate.by !== 'string'
  ) {
    throw badConfig('the gate is missing')
  }
  if (typeof fetchDeadlineMs !== 'number' || typeof readOnly !== 'boolean') {
    throw badConfig('fetchDeadlineMs or readOnly is missing')
  }
  return {
    gate: { open: gate.open, by: gate.by },
    ...(from === undefined ? {} : { from: String(from) }),
    ...(car === undefined ? {} : { car: String(car) }),
    ...(keepRoots === undefined ? {} : { keepRoots: positive(keepRoots, 'keepRoots') }),
    peers: strings(peers, 'peers'),
    readOnly,
    fetchDeadlineMs,
    localOnlyPatterns: strings(localOnlyPatterns ?? [], 'localOnlyPatterns'),
    version: String(version),
    ...(fault === undefined ? {} : { fault: faultOf(fault) }),
  }
}

function faultOf(value: unknown): Fault {
  const { point, visit, action, marker } = Object(value) as Record<string, unknown>
  const known = FAULT_ACTIONS.find((one) => one === action)
  if (known === undefined || typeof point !== 'string' || typeof marker !== 'string') {
    throw badConfig('fault is none')
  }
  return { point, visit: positive(visit, 'fault.visit'), action: known, marker }
}

function positive(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
    throw badConfig(`${what} is no positive number`)
  }
  return value
}

function strings(value: unknown, what: string): string[] {
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string')) {
    throw badConfig(`${what} is no list of strings`)
  }
  return value
}

function badConfig(reason: string): ModelcacheError {
  return new ModelcacheError(`configuration of the daemon: ${reason}`, {
    code: 'bad-config',
    exitCode: 1,
  })
}
