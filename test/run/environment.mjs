// What tests start with: this machine's programs and home, and nothing that changes behaviour.

import { statfsSync } from 'node:fs'

/**
 * The machines of the checks set CI, which closes the gate; a user's shell may set anything. A
 * test that means one of these sets it itself.
 */
const SCRUBBED = [
  /^CI$/,
  /^IPFS_/,
  /^STORAGE_FORCE_LOCAL$/,
  /^TRANSFORMERS_/,
  /^(HF|HUGGINGFACE|XDG|MODEL_MANAGER)_/,
  /^(TORCH_HOME|TMPDIR|TMP|TEMP|INIT_CWD)$/,
  /^NODE_(TEST_CONTEXT|OPTIONS|V8_COVERAGE)$/,
  /^npm_(lifecycle|package|command|config_local_prefix)/,
]

/**
 * @param {NodeJS.ProcessEnv} env - of this process
 * @param {string} place - the folder of everything that this run makes
 * @param {boolean} long - whether the large numbers are wanted
 */
export function testEnvironment(env, place, long) {
  const kept = Object.entries(env).filter(([name]) => !SCRUBBED.some((rule) => rule.test(name)))
  return {
    ...Object.fromEntries(kept),
    TMPDIR: place,
    ...(long ? { MODELCACHE_TEST_LONG: '1' } : {}),
  }
}

/** statfs(2) types of file systems in memory: a store there would test another file system. */
const IN_MEMORY = [0x01021994, 0x858458f6]

/** A folder for temporary files on a real disk. */
export function temporaryPlace() {
  const real = ['/tmp', '/var/tmp'].find((path) => !IN_MEMORY.includes(statfsSync(path).type))
  return real ?? '/var/tmp'
}
