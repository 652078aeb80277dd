import { FAULT_ACTIONS, FAULT_POINTS, type Fault } from '../base/index.ts'
import type { Environment } from './process-environment.ts'
import { shown, usageError } from './usage.ts'

/** Points of the keeper are known to it alone (native/src/fault.rs). */
const KEEPER_PREFIX = 'keeper.'

/**
 * `MODELCACHE_FAULT=POINT:VISIT:ACTION:MARKER`, for tests: the daemon or the keeper dies or stands
 * still at this point.
 *
 * @throws ModelcacheError `usage`
 */
export function faultOption(env: Environment): { keeper?: Fault; daemon?: Fault } {
  const text = env.MODELCACHE_FAULT
  if (text === undefined || text === '') {
    return {}
  }
  const [, point = '', visit = '', word = '', marker = ''] =
    /^([\w.-]+):([1-9]\d{0,5}):([\w-]+):(\/.+)$/.exec(text) ?? []
  const action = FAULT_ACTIONS.find((one) => one === word)
  const isKeepers = point.startsWith(KEEPER_PREFIX)
  if (action === undefined || !(isKeepers || Object.hasOwn(FAULT_POINTS, point))) {
    throw usageError(
      `MODELCACHE_FAULT ${shown(text)}: give POINT:VISIT:ACTION:/MARKER, the action one of ` +
        `${FAULT_ACTIONS.join(', ')}; unset it outside of tests`,
    )
  }
  const fault = { point, visit: Number(visit), action, marker }
  return isKeepers ? { keeper: fault } : { daemon: fault }
}
