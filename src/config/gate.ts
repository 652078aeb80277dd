import { ModelcacheError } from '../base/index.ts'
import type { Environment } from './process-environment.ts'

/** Whether the network may be used, and what decided it. */
export interface Gate {
  readonly open: boolean
  /** What decided, as a user would look for it: `CI=true`, `--gate open`, `default`. */
  readonly by: string
}

/** Values of `--gate`; `auto` asks the environment. */
export const GATE_MODES = ['auto', 'open', 'closed'] as const
export type GateMode = (typeof GATE_MODES)[number]

/**
 * Upstream's value set: compared in lower case and without trimming, so that ` 1` and `on` do not
 * count. (ipfs_accelerate_py, common/storage_wrapper.py.)
 */
const TRUE_VALUES: ReadonlySet<string> = new Set(['1', 'true', 'yes'])

/** In the order in which upstream asks them; the first that is true closes the gate. */
const SWITCHES = ['IPFS_KIT_DISABLE', 'STORAGE_FORCE_LOCAL'] as const

/**
 * Decides the gate as upstream does: an explicit flag wins over the environment; then
 * `IPFS_KIT_DISABLE`, then `STORAGE_FORCE_LOCAL`, then any non-empty `CI` (also `0` and `false`).
 */
export function decideGate(mode: GateMode, env: Environment): Gate {
  if (mode !== 'auto') {
    return { open: mode === 'open', by: `--gate ${mode}` }
  }
  for (const name of SWITCHES) {
    const value = env[name]
    if (value !== undefined && TRUE_VALUES.has(value.toLowerCase())) {
      return { open: false, by: `${name}=${value}` }
    }
  }
  if (env.CI !== undefined && env.CI !== '') {
    return { open: false, by: `CI=${env.CI}` }
  }
  return { open: true, by: 'default' }
}

/**
 * Refuses what needs the network while the gate is closed, naming the gate and the remedy.
 *
 * @param what - the words of the command line, such as `--peer` or `share`
 * @throws ModelcacheError of code `gate-closed`, exit code 5
 */
export function requireOpenGate(gate: Gate, what: string): void {
  if (!gate.open) {
    throw new ModelcacheError(
      `${what}: the gate is closed by ${gate.by}, so no network is used; ` +
        'mount with --gate open to allow it',
      { code: 'gate-closed', exitCode: 5 },
    )
  }
}
